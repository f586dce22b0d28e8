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

    /// From decimal digits, as the database writes it; none if there are other characters, or too many.
    pub(super) fn of_decimal(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let mut octets = [0_u8; 20];
        for digit in text.chars() {
            let mut carry = digit.to_digit(10)?;
            for octet in octets.iter_mut().rev() {
                let value = u32::from(*octet) * 10 + carry;
                let [.., high, low] = value.to_be_bytes();
                (*octet, carry) = (low, u32::from(high));
            }
            if carry != 0 {
                return None;
            }
        }
        Some(Self(octets))
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
        for text in ["0", "255", "256", "340282366920938463463374607431768211455"] {
            assert_eq!(CrlNumber::of_decimal(text).unwrap().to_string(), text);
        }
        let largest = "1461501637330902918203684832716283019655932542975";
        assert_eq!(CrlNumber::of_decimal(largest), Some(CrlNumber([0xff; 20])));
        for bad in ["", "-1", "1.0", "NaN", "1461501637330902918203684832716283019655932542976"] {
            assert_eq!(CrlNumber::of_decimal(bad), None, "{bad}");
        }
        for bad in [&[][..], &[0x80], &[1; 21]] {
            assert_eq!(read(bad), Err(CrlFault::NoNumber), "{bad:?}");
        }
    }
}
