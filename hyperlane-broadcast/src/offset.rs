//! Offsets: the places of messages in their room.

use std::{fmt, str::FromStr};

/// The place of a message in its room: an epoch and a number.
///
/// The first message of a room has the number 1, and each later message a number that is greater by one. An empty room
/// is at the number 0. The epoch is a random number of the room. A room that vanished and was created again has another
/// epoch, so its offsets cannot be taken for those of the earlier room.
///
/// The text form is `<epoch>-<number>`: the epoch in 16 hexadecimal digits, and the number in decimal digits.
///
/// ```
/// use hyperlane_broadcast::Offset;
///
/// let offset: Offset = "000000000000001f-42".parse().unwrap();
/// assert_eq!((offset.epoch, offset.number), (0x1f, 42));
/// assert_eq!(offset.to_string(), "000000000000001f-42");
/// assert!("42".parse::<Offset>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Offset {
    /// The random number of the room.
    pub epoch: u64,
    /// The number of the message, from 1; 0 stands for the beginning of the room.
    pub number: u64,
}

/// The error for a text that is not an [`Offset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an offset is written `<epoch>-<number>`: up to 16 hexadecimal digits, a hyphen, and decimal digits"
)]
pub struct OffsetError;

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.number)
    }
}

impl FromStr for Offset {
    type Err = OffsetError;

    /// # Errors
    /// Returns [`OffsetError`] if the text has another form, or if a part does not fit into 64 bits.
    fn from_str(text: &str) -> Result<Self, OffsetError> {
        let (epoch, number) = text.split_once('-').ok_or(OffsetError)?;
        // The integer parsers of the standard library also take a plus sign.
        let is_plain = epoch.bytes().all(|byte| byte.is_ascii_hexdigit())
            && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_plain {
            return Err(OffsetError);
        }
        Ok(Self {
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| OffsetError)?,
            number: number.parse().map_err(|_| OffsetError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_survives_its_text() {
        for (epoch, number) in [(0, 0), (0x1f, 42), (u64::MAX, u64::MAX)] {
            let offset = Offset { epoch, number };
            assert_eq!(offset.to_string().parse(), Ok(offset));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "+1-1",
            "1-+1",
            "1--1",
            "g-1",
            "1-a",
            " 1-1",
            "1-1 ",
            "12345678901234567-1",
            "1-18446744073709551616",
        ] {
            assert_eq!(text.parse::<Offset>(), Err(OffsetError), "{text:?}");
        }
    }
}
