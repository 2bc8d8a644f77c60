//! Packets as text: hexadecimal digits, of which some are left open.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// A packet with digits that are left open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Digits(String);

/// What the letters of a case stand for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Open(BTreeMap<char, String>);

/// A checksum over open digits: any.
const ANY: char = 'C';

impl Digits {
    /// Reads `45 [00*8] LLLLL`.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut digits = String::new();
        let mut rest = text;
        while let Some((plain, run)) = rest.split_once('[') {
            digits.push_str(plain);
            let (run, after) = run.split_once(']').context("a run without end")?;
            let (octet, count) = run.split_once('*').context("a run without count")?;
            digits.push_str(&octet.repeat(count.parse()?));
            rest = after;
        }
        digits.push_str(rest);
        digits.retain(|digit| digit != ' ');
        let is_digit = |digit: char| digit.is_ascii_uppercase() || digit.is_ascii_hexdigit();
        ensure!(digits.len().is_multiple_of(2) && digits.chars().all(is_digit), "{text}");
        Ok(Self(digits))
    }

    /// The octets of a packet that leaves nothing open.
    pub(super) fn octets(&self) -> Result<Vec<u8>> {
        (0..self.0.len() / 2)
            .map(|at| u8::from_str_radix(&self.0[2 * at..2 * at + 2], 16).context(self.0.clone()))
            .collect()
    }
}

impl Open {
    /// Whether the octets are that packet, after all that was compared before.
    pub(super) fn compare(&mut self, wanted: &Digits, octets: &[u8]) -> Result<()> {
        let found: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let difference = || format!("wanted {}\nfound  {found}", wanted.0);
        ensure!(wanted.0.len() == found.len(), "{}", difference());
        let mut at = 0;
        while let Some(letter) = wanted.0[at..].chars().next() {
            let same = wanted.0[at..].chars().take_while(|it| *it == letter).count();
            // A run of a letter is one value; digits are compared one by one.
            let len = if letter.is_ascii_uppercase() { same } else { 1 };
            let value = &found[at..at + len];
            if letter.is_ascii_uppercase() {
                self.stands_for(letter, value).with_context(difference)?;
            } else {
                ensure!(value == letter.to_string(), "at digit {at}: {}", difference());
            }
            at += len;
        }
        Ok(())
    }

    fn stands_for(&mut self, letter: char, value: &str) -> Result<()> {
        if letter == ANY {
            return Ok(());
        }
        ensure!(value.chars().any(|digit| digit != '0'), "{letter} is zero");
        match self.0.get(&letter) {
            Some(known) => ensure!(known == value, "{letter} was {known}, now {value}"),
            None => {
                if let Some((other, _)) = self.0.iter().find(|(_, known)| *known == value) {
                    bail!("{letter} and {other} are both {value}");
                }
                self.0.insert(letter, value.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Digits {
        Digits::read(text).unwrap()
    }

    #[test]
    fn runs_and_spaces_are_read() {
        assert_eq!(read("45 [00*3]6f").octets().unwrap(), [0x45, 0, 0, 0, 0x6f]);
        assert!(Digits::read("456").is_err() && Digits::read("4x").is_err());
        assert!(read("LL").octets().is_err());
    }

    #[test]
    fn a_letter_stands_for_one_value_and_another_for_another() {
        let mut open = Open::default();
        open.compare(&read("6LLL"), &[0x61, 0x23]).unwrap();
        open.compare(&read("6LLL"), &[0x61, 0x23]).unwrap();
        assert!(open.compare(&read("6LLL"), &[0x61, 0x24]).is_err(), "it was another one");
        assert!(open.compare(&read("6MMM"), &[0x61, 0x23]).is_err(), "the same as L");
        assert!(open.compare(&read("6MMM"), &[0x60, 0x00]).is_err(), "none at all");
        open.compare(&read("6MMMCCCC"), &[0x61, 0x24, 0, 0]).unwrap();
        assert!(open.compare(&read("6MMM"), &[0x71, 0x24]).is_err(), "a digit");
        assert!(open.compare(&read("6MMM"), &[0x61, 0x24, 0]).is_err(), "too long");
    }
}
