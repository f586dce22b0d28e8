//! `CRLNumber` (RFC 5280 §5.2.3): up to 20 octets, and it only ever grows.

use std::fmt;

use super::CrlFault;

/// The number of a list; compared as a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CrlNumber([u8; 20]);

impl CrlNumber {
    /// From the contents of a DER INTEGER.
    pub(super) fn read(contents: &[u8]) -> Result<Self, CrlFault> {
        let negative = contents.first().is_none_or(|byte| byte & 0x80 != 0);
        let octets = padded(contents).filter(|_| !negative).ok_or(CrlFault::NoNumber)?;
        Ok(Self(octets))
    }
}

/// The octets of a big-endian number, filled up to 20 with zeros in front; none if they are more.
pub(super) fn padded(number: &[u8]) -> Option<[u8; 20]> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    let mut octets = [0; 20];
    octets.get_mut(20_usize.checked_sub(number.len())?..)?.copy_from_slice(number);
    Some(octets)
}

impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, low) = self.0.split_at(4);
        match low.try_into().map(u128::from_be_bytes) {
            Ok(low) if high == [0; 4] => write!(f, "{low}"),
            _ => {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
        }
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers_up_to_twenty_octets() {
        let read = |contents: &[u8]| CrlNumber::read(contents);
        assert!(read(&[9]).unwrap() < read(&[1, 0]).unwrap());
        assert_eq!(read(&[0, 0xff]).unwrap().to_string(), "255");
        assert_eq!(read(&[0x7f; 20]).unwrap().to_string(), format!("0x{}", "7F".repeat(20)));
        for bad in [&[][..], &[0x80], &[1; 21]] {
            assert_eq!(read(bad), Err(CrlFault::NoNumber), "{bad:?}");
        }
    }
}
