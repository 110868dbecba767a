//! A name server for the names of some servers, which can be told to say nothing.
//!
//! The system's resolver asks whom `/etc/resolv.conf` names, at port 53 and nowhere else. So the exporter is started with
//! another file in that place, in a mount namespace of its own, and this listens at port 53 of an address that nobody uses:
//! both are for root only.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::stub;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 1, 255, 254);

/// Behind the number of a server.
const DOMAIN: &str = "load.test";

/// Answers until the process ends.
pub(crate) struct NameServer {
    silent: Arc<AtomicBool>,
}

impl NameServer {
    /// # Errors
    ///
    /// The port is not to be had, or a program that is started to ask here is not answered.
    pub(crate) fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind((ADDRESS, 53))
            .map_err(|error| impossible(&format!("no name server at {ADDRESS}, port 53: {error}")))?;
        let silent = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&silent);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut question) {
                if let Some(answer) = answer(&question[..length]).filter(|_| !told.load(Ordering::Relaxed)) {
                    // Whoever asked asks again.
                    drop(socket.send_to(&answer, asker));
                }
            }
        });
        let started = Self { silent };
        started.is_asked()?;
        Ok(started)
    }

    /// Lets a program look a name up, in the way of the exporter.
    fn is_asked(&self) -> io::Result<()> {
        let directory = tempfile::TempDir::new()?;
        let mut command = self.asked_by(Path::new("getent"), directory.path())?;
        let output = command.args(["ahostsv4", &name(0)]).output();
        let output = output.map_err(|error| impossible(&format!("could not start `unshare`: {error}")))?;
        let (found, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let expected = stub::address(0, 0).ip().to_string();
        match found.split_whitespace().next() {
            Some(first) if first == expected => Ok(()),
            first => Err(impossible(&format!(
                "`{}` is {first:?} for a program with a resolv.conf of its own, not {expected}; {}",
                name(0),
                said.trim()
            ))),
        }
    }

    pub(crate) fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Starts a program that asks this name server; it is the process that is started, not a child of it.
    pub(crate) fn asked_by(&self, program: &Path, directory: &Path) -> io::Result<Command> {
        let file = directory.join("resolv.conf");
        std::fs::write(&file, format!("nameserver {ADDRESS}\noptions ndots:0\n"))?;
        let mut command = Command::new("unshare");
        let script = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
        command.args(["--mount", "sh", "-c", script]).args([&file, program]);
        Ok(command)
    }
}

fn impossible(why: &str) -> io::Error {
    io::Error::other(format!(
        "{why} (this scenario needs root, `unshare` and `mount` of util-linux, and `hosts: files dns` in /etc/nsswitch.conf)"
    ))
}

/// The name of a server.
pub(crate) fn name(server: usize) -> String {
    format!("{server}.{DOMAIN}")
}

/// The answer to one question (RFC 1035, section 4): an address where one is asked for, else that there is none.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    const ADDRESSES_OF_IP_4: [u8; 2] = [0, 1];
    let id = question.get(..2)?;
    let mut end = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*question.get(end)?);
        end += 1;
        if length == 0 {
            break;
        }
        labels.push(std::str::from_utf8(question.get(end..end + length)?).ok()?);
        end += length;
    }
    let (number, domain) = labels.split_first()?;
    let server: usize = number.parse().ok().filter(|_| domain.join(".") == DOMAIN)?;
    let SocketAddr::V4(address) = stub::address(server, 0) else { return None };
    let has_address = question.get(end..end + 2)? == ADDRESSES_OF_IP_4;
    // An answer to a question that wanted recursion, one question, so many answers.
    let mut answer =
        [id, &[0x81, 0x80, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0], question.get(12..end + 4)?].concat();
    if has_address {
        // The name is the one at 12; an address of the Internet; to be remembered for no time; four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.ip().octets());
    }
    Some(answer)
}
