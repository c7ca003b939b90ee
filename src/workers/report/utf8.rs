//! Whether pieces of bytes are UTF-8, wherever they are cut. Pure.

/// These bytes are no UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoUtf8;

/// What has been seen of a character that a piece has cut.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    begun: [u8; 4],
    length: usize,
}

impl Utf8 {
    /// Looks at the next piece.
    pub fn check(&mut self, mut piece: &[u8]) -> Result<(), NoUtf8> {
        while let (1.., Some((first, rest))) = (self.length, piece.split_first()) {
            // A character has at most four bytes; a fifth would have been refused before.
            *self.begun.get_mut(self.length).ok_or(NoUtf8)? = *first;
            self.length += 1;
            piece = rest;
            match std::str::from_utf8(&self.begun[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return Err(NoUtf8),
                Err(_) => {}
            }
        }
        let Err(error) = std::str::from_utf8(piece) else { return Ok(()) };
        let cut = &piece[error.valid_up_to()..];
        if error.error_len().is_some() || cut.len() > self.begun.len() {
            return Err(NoUtf8);
        }
        self.begun[..cut.len()].copy_from_slice(cut);
        self.length = cut.len();
        Ok(())
    }

    /// There is no further piece.
    pub const fn end(&self) -> Result<(), NoUtf8> {
        if self.length == 0 { Ok(()) } else { Err(NoUtf8) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_utf8(bytes: &[u8], piece: usize) -> bool {
        let mut utf8 = Utf8::default();
        bytes.chunks(piece).try_for_each(|piece| utf8.check(piece)).and_then(|()| utf8.end()).is_ok()
    }

    proptest! {
        #[test]
        fn it_says_what_the_standard_library_says(
            text in "[a-cä€𝄞]{0,12}", edit in any::<Option<(prop::sample::Index, u8)>>(), piece in 1_usize..6,
        ) {
            let mut bytes = text.into_bytes();
            if let (Some((place, byte)), false) = (edit, bytes.is_empty()) {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            prop_assert_eq!(is_utf8(&bytes, piece), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
