//! The body of an answer: limited, unpacked, and handed on as it arrives. IO.
//!
//! In: an answer. Out: its body in pieces, given to a sink. Neither the body nor what it unpacks to is stored: a piece
//! is unpacked a little at a time, straight into the sink, so a kilobyte that unpacks to a gigabyte costs no memory,
//! and ends at the limit.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// How much of a compressed piece is unpacked at once. Gzip expands it by a factor of about a thousand at most.
const UNPACKED_AT_ONCE: usize = 512;
/// Other tasks get their turn after this many bytes, which is less than a millisecond's work.
const TURN: usize = 256 * 1024;

/// Why a body was not read to its end.
#[derive(Debug)]
pub enum BodyError<E> {
    /// It is larger than allowed, packed or unpacked.
    TooLarge,
    /// It has a `Content-Encoding` other than gzip.
    Encoding,
    /// It is broken or cut off gzip.
    BrokenGzip,
    /// The connection broke.
    Transport(reqwest::Error),
    /// The sink refused it.
    Refused(E),
}

/// Reads a body to its end. `max_bytes`: of the body as sent, and of what it unpacks to.
///
/// # Errors
/// Why it was not read to its end. The sink may have taken a part of it.
pub async fn read<E>(
    mut response: Response,
    max_bytes: usize,
    sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), BodyError<E>> {
    let gzip = is_gzip(response.headers()).ok_or(BodyError::Encoding)?;
    let sink = Limited { sink, bytes_left: max_bytes, error: None };
    let mut decoder = if gzip { Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))) } else { Decoder::Plain(sink) };
    let (mut sent_bytes_left, mut since_turn) = (max_bytes, 0);
    while let Some(piece) = response.chunk().await.map_err(BodyError::Transport)? {
        sent_bytes_left = sent_bytes_left.checked_sub(piece.len()).ok_or(BodyError::TooLarge)?;
        for part in piece.chunks(if gzip { UNPACKED_AT_ONCE } else { TURN }) {
            let before = decoder.bytes_left();
            decoder.write(part)?;
            since_turn += part.len() + (before - decoder.bytes_left());
            if since_turn >= TURN {
                since_turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }
    decoder.finish()
}

/// Whether the body is gzip, else plain; `None` if it is neither.
fn is_gzip(headers: &HeaderMap) -> Option<bool> {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    match (all.next().map(|value| value.as_bytes().to_ascii_lowercase()), all.next()) {
        (None, _) => Some(false),
        (Some(one), None) if one == b"gzip" || one == b"x-gzip" => Some(true),
        (Some(one), None) if one == b"identity" => Some(false),
        _ => None,
    }
}

enum Decoder<S: FnMut(&[u8]) -> Result<(), E>, E> {
    Plain(Limited<S, E>),
    Gzip(Box<MultiGzDecoder<Limited<S, E>>>),
}

impl<E, S: FnMut(&[u8]) -> Result<(), E>> Decoder<S, E> {
    fn write(&mut self, part: &[u8]) -> Result<(), BodyError<E>> {
        match self {
            Self::Plain(sink) => sink.push(part),
            Self::Gzip(decoder) => decoder.write_all(part).map_err(|_| decoder.get_mut().error()),
        }
    }

    fn finish(self) -> Result<(), BodyError<E>> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(mut decoder) => decoder.try_finish().map_err(|_| decoder.get_mut().error()),
        }
    }

    fn bytes_left(&self) -> usize {
        match self {
            Self::Plain(sink) => sink.bytes_left,
            Self::Gzip(decoder) => decoder.get_ref().bytes_left,
        }
    }
}

/// A sink for unpacked bytes, with a limit.
struct Limited<S, E> {
    sink: S,
    bytes_left: usize,
    /// Why it stopped, because an `io::Error` cannot carry that.
    error: Option<BodyError<E>>,
}

impl<E, S: FnMut(&[u8]) -> Result<(), E>> Limited<S, E> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), BodyError<E>> {
        self.bytes_left = self.bytes_left.checked_sub(bytes.len()).ok_or(BodyError::TooLarge)?;
        (self.sink)(bytes).map_err(BodyError::Refused)
    }

    /// Why unpacking stopped: the sink has an error, or the gzip is broken.
    fn error(&mut self) -> BodyError<E> {
        self.error.take().unwrap_or(BodyError::BrokenGzip)
    }
}

impl<E, S: FnMut(&[u8]) -> Result<(), E>> Write for Limited<S, E> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.error = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
