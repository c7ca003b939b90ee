//! The body of an answer on its way into the reader: limits, and gzip. IO-free, but it gives way to other tasks.
//!
//! In: the bytes as they come from the wire. Out: the report. It holds neither the body nor what it unpacks to: a piece is unpacked a
//! little at a time, straight into the reader, so that a kilobyte that unpacks to a gigabyte costs no memory, and ends at the
//! limit.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use super::fault::RequestError;
use super::report::{Parsed, Reader, ReportError, Timing};

use crate::registry::RegistrySnapshot;

/// How much of a compressed piece is unpacked at once: gzip makes at most about a thousand times as much of it.
const UNPACKED_AT_ONCE: usize = 512;
/// After so many bytes other tasks have their turn: it is less than a millisecond's work.
const TURN: usize = 256 * 1024;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
}

impl Encoding {
    /// By `Content-Encoding`; `None` if it is another one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(CONTENT_ENCODING).iter();
        match (all.next().map(|value| value.as_bytes().to_ascii_lowercase()), all.next()) {
            (None, _) => Some(Self::Plain),
            (Some(one), None) if one == b"gzip" || one == b"x-gzip" => Some(Self::Gzip),
            (Some(one), None) if one == b"identity" => Some(Self::Plain),
            _ => None,
        }
    }
}

/// A body that arrives.
pub(super) struct Body<'r> {
    /// Bytes that may still come from the wire.
    wire_left: usize,
    /// Bytes since other tasks had their turn.
    since_turn: usize,
    way: Way<'r>,
}

enum Way<'r> {
    Plain(Box<Sink<'r>>),
    Gzip(Box<MultiGzDecoder<Sink<'r>>>),
}

impl<'r> Body<'r> {
    /// `max_bytes`: of the body on the wire, and of what it unpacks to.
    pub fn new(encoding: Encoding, max_bytes: usize, registry: &'r RegistrySnapshot) -> Self {
        let sink = Sink { reader: Reader::new(registry), left: max_bytes, fault: None };
        let way = match encoding {
            Encoding::Plain => Way::Plain(Box::new(sink)),
            Encoding::Gzip => Way::Gzip(Box::new(MultiGzDecoder::new(sink))),
        };
        Self { wire_left: max_bytes, since_turn: 0, way }
    }

    /// Takes in a piece from the wire.
    pub async fn take(&mut self, piece: &[u8]) -> Result<(), RequestError> {
        self.wire_left = self.wire_left.checked_sub(piece.len()).ok_or(RequestError::TooLarge)?;
        let at_once = match self.way {
            Way::Plain(_) => TURN,
            Way::Gzip(_) => UNPACKED_AT_ONCE,
        };
        for part in piece.chunks(at_once) {
            let before = self.sink().left;
            match &mut self.way {
                Way::Plain(sink) => sink.push(part)?,
                Way::Gzip(unpacking) => {
                    let unpacked = unpacking.write_all(part);
                    unpacked.map_err(|_| fault_of(unpacking.get_mut()))?;
                }
            }
            self.since_turn += part.len() + (before - self.sink().left);
            if self.since_turn >= TURN {
                self.since_turn = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// The report, after the last piece.
    pub fn end(self, timing: &Timing) -> Result<Parsed, RequestError> {
        let sink = match self.way {
            Way::Plain(sink) => *sink,
            Way::Gzip(mut unpacking) => {
                unpacking.try_finish().map_err(|_| fault_of(unpacking.get_mut()))?;
                unpacking.finish().map_err(|_| broken())?
            }
        };
        Ok(sink.reader.finish(timing)?)
    }

    fn sink(&self) -> &Sink<'r> {
        match &self.way {
            Way::Plain(sink) => sink,
            Way::Gzip(unpacking) => unpacking.get_ref(),
        }
    }
}

/// Why unpacking stopped: for a reason of ours, or because it is no gzip.
fn fault_of(sink: &mut Sink<'_>) -> RequestError {
    sink.fault.take().unwrap_or_else(broken)
}

fn broken() -> RequestError {
    RequestError::Body("broken or cut off gzip".to_owned())
}

/// Where the plain bytes go.
struct Sink<'r> {
    reader: Reader<'r>,
    /// Bytes that may still come.
    left: usize,
    /// Why it took no more.
    fault: Option<RequestError>,
}

impl Sink<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), RequestError> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(RequestError::TooLarge)?;
        self.reader.push(bytes).map_err(|error: ReportError| error.into())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(fault) => {
                self.fault = Some(fault);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
