//! `metadata.resourceVersion` of an object. Pure.

use std::fmt;

use arcstr::ArcStr;
use serde::{Serialize, Serializer};

/// The version of an object in the API server. It is only compared for equality, and sent back as it came.
///
/// API servers use decimal numbers, which are stored as numbers: a large registry has many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceVersion(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Number(u64),
    Other(ArcStr),
}

impl From<&str> for ResourceVersion {
    fn from(text: &str) -> Self {
        match text.parse::<u64>() {
            // Not with a sign or leading zeros.
            Ok(number) if number.to_string() == text => Self(Form::Number(number)),
            _ => Self(Form::Other(text.into())),
        }
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Number(number) => number.fmt(f),
            Form::Other(text) => f.pad(text),
        }
    }
}

impl Serialize for ResourceVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sent_as_it_came() {
        for text in ["7", "0", "18446744073709551615", "18446744073709551616", "007", "+7", "", "a7"] {
            let version = ResourceVersion::from(text);
            assert_eq!(version.to_string(), text);
            assert_eq!(serde_json::to_string(&version).unwrap(), format!("\"{text}\""));
        }
        assert_ne!(ResourceVersion::from("7"), ResourceVersion::from("07"));
        assert_eq!(size_of::<ResourceVersion>(), 16);
    }
}
