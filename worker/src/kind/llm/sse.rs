//! Server-sent events, from bytes: lines that end with LF, CR or CRLF, fields, and the blank line that ends an event.
//!
//! Bytes are gathered until an event is whole, so that it does not matter where they are split. What is no UTF-8 is
//! replaced. A line that cannot be one of the format is an error: the other side sends something else.

/// Bytes of one line, and of the data of one event.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The mark that a text may begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name; empty if it has none.
    pub(super) name: String,
    pub(super) data: String,
}

/// What is no stream of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a line of an event stream was expected, not `{0}`")]
    Line(String),
    #[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
    TooLong,
}

/// Makes events of bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    /// The line before ended with CR: an LF that follows belongs to it.
    after_return: bool,
    begun: bool,
    name: String,
    data: Vec<u8>,
    has_data: bool,
}

impl Decoder {
    /// The events that these bytes complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, Malformed> {
        let mut events = Vec::new();
        if self.after_return && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_return = false;
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.append(&bytes[..end])?;
            let is_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if is_return && bytes.is_empty() {
                self.after_return = true;
            } else if is_return {
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            events.extend(self.end_line()?);
        }
        self.append(bytes)?;
        Ok(events)
    }

    /// The event that was still open when the bytes ended: some servers leave out its last line break.
    pub(super) fn finish(mut self) -> Result<Option<Event>, Malformed> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        Ok(self.end_event())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.line.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<Event>, Malformed> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !self.begun {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            self.begun = true;
        }
        if line.is_empty() {
            return Ok(self.end_event());
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = colon.map_or((line, &[][..]), |colon| (&line[..colon], &line[colon + 1..]));
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            // A comment, such as the pings that keep a connection open.
            b"" => {}
            b"data" => self.take_data(value)?,
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            // `id`, `retry`, and what may come to be.
            other if is_word(other) => {}
            _ => {
                return Err(Malformed::Line(String::from_utf8_lossy(line).into_owned()));
            }
        }
        Ok(None)
    }

    fn take_data(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if self.data.len() + value.len() > EVENT_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
        Ok(())
    }

    fn end_event(&mut self) -> Option<Event> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        let has_data = std::mem::take(&mut self.has_data);
        has_data.then(|| Event { name, data: String::from_utf8_lossy(&data).into_owned() })
    }
}

fn is_word(field: &[u8]) -> bool {
    field.len() <= 32 && field.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of pieces of bytes, as `name=data`, and what was wrong.
    fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<String>, Malformed> {
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        for piece in pieces {
            events.extend(decoder.feed(piece)?);
        }
        events.extend(decoder.finish()?);
        Ok(events.into_iter().map(|event| format!("{}={}", event.name, event.data)).collect())
    }

    fn whole(text: &str) -> Vec<String> {
        events([text.as_bytes()]).unwrap()
    }

    #[test]
    fn lines_end_with_each_of_the_three_ends() {
        for end in ["\n", "\r", "\r\n"] {
            let text = ["event: a", "data: 1", "", "data: 2", "", ""].join(end);
            assert_eq!(whole(&text), ["a=1", "=2"], "{end:?}");
        }
    }

    #[test]
    fn data_may_have_lines_and_one_space_before_it_is_no_part_of_it() {
        assert_eq!(whole("data: a\ndata:b\ndata:  c\ndata\n\n"), ["=a\nb\n c\n"]);
    }

    #[test]
    fn comments_pings_and_unknown_fields_are_no_events() {
        assert_eq!(whole(": ping\n\n:\nid: 7\nretry: 10\nevent: ping\n\ndata: x\n\n"), ["=x"]);
        assert_eq!(whole("\u{feff}data: x\n\n"), ["=x"]);
    }

    #[test]
    fn the_last_event_counts_without_its_blank_line() {
        assert_eq!(whole("data: a\n\ndata: [DONE]"), ["=a", "=[DONE]"]);
        assert_eq!(whole("data: a\n\ndata: [DONE]\n"), ["=a", "=[DONE]"]);
    }

    #[test]
    fn what_is_no_text_is_replaced_and_what_is_split_is_not() {
        let pieces: [&[u8]; 4] = [b"data: gr\xc3", b"\xbc\xc3", b"\x9fe \xff!", b"\n\n"];
        assert_eq!(events(pieces).unwrap(), ["=grüße \u{fffd}!"]);
    }

    #[test]
    fn garbage_is_refused_and_shown() {
        for garbage in ["<html><body>Bad Gateway</body></html>\n", "{\"error\": \"busy\"}\n", "\0\0\0\n"] {
            let error = events([garbage.as_bytes()]).unwrap_err();
            assert!(error.to_string().contains(garbage.trim_end()), "{error}");
        }
    }

    #[test]
    fn an_event_that_never_ends_is_refused_however_it_comes() {
        let piece = vec![b'x'; EVENT_BYTES_MAX / 2];
        let mut decoder = Decoder::default();
        decoder.feed(&piece).unwrap();
        decoder.feed(&piece).unwrap();
        assert_eq!(decoder.feed(b"x").unwrap_err(), Malformed::TooLong);
        let (mut decoder, line) = (Decoder::default(), [b"data: ", piece.as_slice(), b"\n"].concat());
        decoder.feed(&line).unwrap();
        decoder.feed(&line).unwrap();
        assert_eq!(decoder.feed(b"data: x\n").unwrap_err(), Malformed::TooLong);
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let start = prop::sample::select(vec!["data: ", "data:", "event: ", ": ", "id: ", "", "x"]);
        let text = prop::collection::vec(prop::sample::select(b"a: \xc3\xbc\xff{".to_vec()), 0..6);
        let end = prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n", "\r\r\n"]);
        (start, text, end).prop_map(|(start, text, end)| [start.as_bytes(), &text, end.as_bytes()].concat())
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_split(
            lines in prop::collection::vec(line(), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = lines.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(events(pieces), events([bytes.as_slice()]));
        }
    }
}
