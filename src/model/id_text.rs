//! The text of an id, in little memory: a large registry has two for each object. Pure.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use arcstr::ArcStr;
use uuid::Uuid;

/// The text of an id. A UUID is stored as its 16 bytes, any other text as it is.
///
/// Equality, order and hash are those of the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct IdText(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    /// 32 digits, in lower case.
    Simple(Uuid),
    /// With hyphens, in lower case.
    Hyphenated(Uuid),
    Other(ArcStr),
}

impl IdText {
    pub(crate) fn new(text: &str) -> Self {
        Self(Self::uuid(text.as_bytes()).unwrap_or_else(|| Form::Other(text.into())))
    }

    /// The form of a UUID in one of the two spellings.
    fn uuid(text: &[u8]) -> Option<Form> {
        let form: fn(Uuid) -> Form = match text.len() {
            32 => Form::Simple,
            36 => Form::Hyphenated,
            _ => return None,
        };
        let form = form(Uuid::try_parse_ascii(text).ok()?);
        // Digits may be in upper case, which this form does not keep.
        Self(form.clone()).with_text(|kept| kept.as_bytes() == text).then_some(form)
    }

    /// The text.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Other(text) => Cow::Borrowed(text),
            Form::Simple(_) | Form::Hyphenated(_) => Cow::Owned(self.with_text(str::to_owned)),
        }
    }

    /// Calls a function with the text, which is not allocated.
    pub(crate) fn with_text<T>(&self, call: impl FnOnce(&str) -> T) -> T {
        let mut buffer = Uuid::encode_buffer();
        call(match &self.0 {
            Form::Simple(uuid) => uuid.simple().encode_lower(&mut buffer),
            Form::Hyphenated(uuid) => uuid.hyphenated().encode_lower(&mut buffer),
            Form::Other(text) => text,
        })
    }
}

impl PartialOrd for IdText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IdText {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Form::Simple(one), Form::Simple(other)) | (Form::Hyphenated(one), Form::Hyphenated(other)) => {
                one.cmp(other)
            }
            _ => self.with_text(|one| other.with_text(|other| one.cmp(other))),
        }
    }
}

impl fmt::Display for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.pad(text))
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| fmt::Debug::fmt(text, f))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_id() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9a-f]{32}",
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "[0-9a-fA-F-]{30,38}",
            "[A-Za-z0-9._-]{0,64}",
        ]
    }

    proptest! {
        #[test]
        fn it_is_its_text(one in any_id(), other in any_id()) {
            let [id, other_id] = [&one, &other].map(|text| IdText::new(text));
            prop_assert_eq!(id.text(), one.as_str());
            prop_assert_eq!(id.to_string(), one.as_str());
            prop_assert!(id.with_text(|text| text == one));
            prop_assert_eq!(id == other_id, one == other);
            prop_assert_eq!(id.cmp(&other_id), one.cmp(&other));
        }
    }

    #[test]
    fn a_uuid_is_stored_in_its_bytes() {
        for text in ["00000000000000000000000000000abc", "c7a63a2e-0f43-4b6e-a2ee-6f9d7b1e1c11"] {
            assert!(matches!(IdText::new(text).0, Form::Simple(_) | Form::Hyphenated(_)));
        }
        assert!(matches!(IdText::new("C7A63A2E-0F43-4B6E-A2EE-6F9D7B1E1C11").0, Form::Other(_)));
        assert_eq!(size_of::<Option<IdText>>(), 24);
    }
}
