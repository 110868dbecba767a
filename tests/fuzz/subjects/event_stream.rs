//! An event stream: wherever its bytes are cut, the events are those of the standard, and none is larger than its limit.

use mcp_exporter::probe::transport::{Event, TooLarge, events};

/// The first byte chooses the limit, the second where the rest is cut.
pub fn event_stream(data: &[u8]) {
    let [limit, cut, stream @ ..] = data else { return };
    let limit = [1, 16, 64, 4096][usize::from(limit % 4)];
    let whole = events([stream], limit);
    let (before, after) = stream.split_at(usize::from(*cut).min(stream.len()));
    assert_eq!(events([before, after], limit), whole);
    assert_eq!(events([before, &[], after], limit), whole);
    assert_eq!(events(stream.chunks(1), limit), whole);
    assert_eq!(events(stream.chunks(2 + usize::from(cut % 7)), limit), whole);

    let (found, end) = whole;
    let size = |event: &Event| event.name.len() + event.data.len();
    assert!(found.iter().all(|event| size(event) <= limit), "{found:?}");
    let expected = by_the_standard(stream);
    match end {
        Ok(()) => assert_eq!(found, expected),
        Err(TooLarge) => assert!(expected.starts_with(&found), "{found:?} of {expected:?}"),
    }
    // Written again, they are read again.
    let written: Vec<u8> = expected.iter().flat_map(write).collect();
    assert_eq!(events([&written[..]], usize::MAX), (expected, Ok(())));
}

fn write(event: &Event) -> Vec<u8> {
    let mut text = [b"event: ", &event.name[..], b"\r\n"].concat();
    for line in event.data.split(|byte| *byte == b'\n') {
        text.extend([b"data: ", line, b"\n"].concat());
    }
    text.push(b'\n');
    text
}

/// The same the long way round: lines first, then fields, then events. Knows no limit.
fn by_the_standard(stream: &[u8]) -> Vec<Event> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = stream.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if(|next| **next == b'\n');
                lines.push(Vec::new());
            }
            b'\n' => lines.push(Vec::new()),
            other => lines.last_mut().expect("one").push(*other),
        }
    }
    // What no line end follows is no line.
    lines.pop();
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (field, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value).to_vec();
        match field {
            _ if line.is_empty() => {
                let name = std::mem::take(&mut name);
                events.extend(data.take().map(|data| Event { name, data }));
            }
            b"data" => {
                data = Some(match data {
                    Some(data) => [data, value].join(&b'\n'),
                    None => value,
                });
            }
            b"event" => name = value,
            _ => {}
        }
    }
    events
}
