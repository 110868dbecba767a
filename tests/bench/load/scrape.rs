//! Scrapes, as Prometheus makes them, and the few figures that are read from one.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;

/// One scrape.
pub(crate) struct Scrape {
    pub(crate) text: String,
    /// From the request to the last byte.
    pub(crate) took: Duration,
    /// What came through the socket, without its head.
    pub(crate) bytes: usize,
}

/// A GET whose answer comes whole; HTTP/1.0, so that nothing comes in chunks.
fn get(address: SocketAddr, path: &str, headers: &str) -> io::Result<(Duration, u16, Vec<u8>)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = begun.elapsed();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let body = answer.split_off(end + 4);
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((took, status.ok_or(io::ErrorKind::InvalidData)?, body))
}

/// Whether this path answers 200.
pub(crate) fn is_ok(address: SocketAddr, path: &str) -> bool {
    matches!(get(address, path, ""), Ok((_, 200, _)))
}

impl Scrape {
    pub(crate) fn of(address: SocketAddr, gzip: bool) -> io::Result<Self> {
        let headers = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3\r\n";
        let headers = format!("{headers}Accept-Encoding: {}\r\n", if gzip { "gzip" } else { "identity" });
        let (took, status, body) = get(address, "/metrics", &headers)?;
        if status != 200 {
            return Err(io::Error::other(format!("a scrape was answered {status}")));
        }
        let bytes = body.len();
        let text = if gzip {
            let mut text = String::new();
            GzDecoder::new(&body[..]).read_to_string(&mut text)?;
            text
        } else {
            String::from_utf8(body).map_err(io::Error::other)?
        };
        Ok(Self { text, took, bytes })
    }

    /// Samples in all.
    pub(crate) fn series(&self) -> usize {
        self.text.lines().filter(|line| !line.starts_with('#')).count()
    }

    fn samples<'t>(&'t self, name: &'t str) -> impl Iterator<Item = (&'t str, f64)> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, value.parse().ok()?))
        })
    }

    /// The sum of all samples of this name whose labels have this text.
    pub(crate) fn sum(&self, name: &str, part: &str) -> f64 {
        self.samples(name).filter(|(labels, _)| labels.contains(part)).map(|(_, value)| value).sum()
    }

    /// Failed polls by reason.
    pub(crate) fn failures(&self) -> BTreeMap<String, u64> {
        let mut failures = BTreeMap::new();
        for (labels, value) in self.samples("mcp_poll_failures_total") {
            let reason = labels.split("reason=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
            let count = value as u64;
            *failures.entry(reason.to_owned()).or_default() += count;
        }
        failures
    }

    /// How late polls began.
    pub(crate) fn lag(&self) -> Lag {
        let bounds = self.samples("mcp_exporter_poll_schedule_lag_seconds_bucket").filter_map(|(labels, count)| {
            let bound = labels.strip_prefix("{le=\"")?.strip_suffix("\"}")?;
            Some((bound.parse().ok()?, count))
        });
        Lag(bounds.collect())
    }
}

/// A histogram: upper bounds in seconds and cumulative counts.
pub(crate) struct Lag(Vec<(f64, f64)>);

impl Lag {
    /// What was added since an earlier look.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().zip(&before.0).map(|((bound, now), (_, then))| (*bound, now - then)).collect())
    }

    /// The bucket bounds that a share of the polls was below, in milliseconds: `<= 5 ms`.
    pub(crate) fn quantile(&self, share: f64) -> String {
        let all = self.0.last().map_or(0.0, |(_, count)| *count);
        let bound = self.0.iter().find(|(_, count)| *count >= all * share && *count > 0.0).map(|(bound, _)| *bound);
        match bound {
            Some(bound) if bound.is_finite() => format!("<= {} ms", bound * 1e3),
            Some(_) => "> 5000 ms".to_owned(),
            None => "none".to_owned(),
        }
    }
}
