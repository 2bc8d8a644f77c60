use alloc::vec::Vec;

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::{AeadInOut as _, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, Nonce, Tag};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, consts::U12};
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha384, Sha512};

use crate::error::{EspError, KeyError};
use crate::keys::Keys;
use crate::suite::Suite;

type Aes192Gcm = AesGcm<Aes192, U12>;

/// SPI and sequence number.
const HEADER_LEN: usize = 8;
/// Pad length and next header.
const TRAILER_LEN: usize = 2;
/// Of a salt (RFC 4106 §4).
const SALT_LEN: usize = 4;
const TAG_LEN: usize = 16;
/// RFC 4303 §2.6: to be discarded.
const NO_NEXT_HEADER: u8 = 59;

/// One direction of a security association: what its octets are made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transform {
    suite: Suite,
    spi: u32,
    /// Extended sequence numbers: the ICV covers 64 bits of them, of which 32 are sent (RFC 4303 §2.2.1).
    extended: bool,
    keys: Keys,
}

/// What an ESP packet held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Protocol of the payload.
    pub next_header: u8,
    /// Without padding.
    pub payload: Vec<u8>,
}

impl Transform {
    /// With keys that fit the suite.
    ///
    /// # Errors
    /// When they do not.
    pub fn new(suite: Suite, spi: u32, extended: bool, keys: Keys) -> Result<Self, KeyError> {
        suite.check(&keys)?;
        Ok(Self { suite, spi, extended, keys })
    }

    /// The octets from the SPI to the ICV (RFC 4303 §3.3). `sequence` must never have been used with these keys;
    /// `random` is unpredictable.
    ///
    /// # Errors
    /// When the payload is longer than any packet.
    pub fn seal(
        &self,
        sequence: u64,
        random: [u8; 16],
        next_header: u8,
        payload: &[u8],
    ) -> Result<Vec<u8>, EspError> {
        let mut plain = Vec::from(payload);
        let block = self.suite.block_len();
        let used = payload.len().saturating_add(TRAILER_LEN).checked_rem(block).unwrap_or(0);
        let pad_len = block.saturating_sub(used).checked_rem(block).unwrap_or(0);
        let pad_len = u8::try_from(pad_len).map_err(|_| EspError::Packet)?;
        plain.extend(1..=pad_len);
        plain.extend([pad_len, next_header]);
        let (low, _) = halves(sequence);
        let mut out = Vec::with_capacity(plain.len().saturating_add(64));
        out.extend_from_slice(&self.spi.to_be_bytes());
        out.extend_from_slice(&low.to_be_bytes());
        match self.suite {
            Suite::AesGcm16 => {
                // RFC 4106 §3.1: a counter is as good as anything that never comes twice.
                let iv = sequence.to_be_bytes();
                let tag = self.gcm_seal(sequence, iv, &mut plain)?;
                out.extend_from_slice(&iv);
                out.append(&mut plain);
                out.extend_from_slice(&tag);
            }
            Suite::AesCbcHmacSha256 | Suite::AesCbcHmacSha384 | Suite::AesCbcHmacSha512 => {
                self.cbc_encrypt(random, &mut plain)?;
                out.extend_from_slice(&random);
                out.append(&mut plain);
                self.append_icv(sequence, &mut out);
            }
            Suite::NullHmacSha256 | Suite::NullHmacSha384 | Suite::NullHmacSha512 => {
                out.append(&mut plain);
                self.append_icv(sequence, &mut out);
            }
        }
        Ok(out)
    }

    /// What these octets, from the SPI to the ICV, hold (RFC 4303 §3.4). Who has several associations has looked
    /// the SPI up; `sequence` is what the window has made of its lower half.
    ///
    /// # Errors
    /// When they are not authentic: nothing of them was decrypted then. When they are not well formed.
    pub fn open(&self, octets: &[u8], sequence: u64) -> Result<Opened, EspError> {
        let suite = self.suite;
        let (header, rest) = octets.split_at_checked(HEADER_LEN).ok_or(EspError::Length)?;
        let (iv, rest) = rest.split_at_checked(suite.iv_len()).ok_or(EspError::Length)?;
        let cipher_len = rest.len().checked_sub(suite.icv_len()).ok_or(EspError::Length)?;
        let whole = cipher_len.checked_rem(suite.block_len()) == Some(0);
        if cipher_len < TRAILER_LEN || !whole {
            return Err(EspError::Length);
        }
        let (low, _) = halves(sequence);
        if header.split_at_checked(4) != Some((&self.spi.to_be_bytes(), &low.to_be_bytes())) {
            return Err(EspError::Integrity);
        }
        let (cipher, icv) = rest.split_at_checked(cipher_len).ok_or(EspError::Length)?;
        let mut plain = Vec::from(cipher);
        match suite {
            Suite::AesGcm16 => self.gcm_open(sequence, iv, &mut plain, icv)?,
            Suite::AesCbcHmacSha256 | Suite::AesCbcHmacSha384 | Suite::AesCbcHmacSha512 => {
                self.check_icv(sequence, octets, icv)?;
                self.cbc_decrypt(iv, &mut plain)?;
            }
            Suite::NullHmacSha256 | Suite::NullHmacSha384 | Suite::NullHmacSha512 => {
                self.check_icv(sequence, octets, icv)?;
            }
        }
        strip(plain)
    }

    /// Additional authenticated data (RFC 4106 §5).
    fn additional(&self, sequence: u64) -> Vec<u8> {
        let (low, high) = halves(sequence);
        let mut data = Vec::from(self.spi.to_be_bytes());
        if self.extended {
            data.extend_from_slice(&high.to_be_bytes());
        }
        data.extend_from_slice(&low.to_be_bytes());
        data
    }

    fn gcm(&self) -> Result<(Gcm, [u8; SALT_LEN]), EspError> {
        let split = self.keys.encryption.len().saturating_sub(SALT_LEN);
        let parts = self.keys.encryption.split_at_checked(split);
        let (key, salt) = parts.ok_or(EspError::Length)?;
        let salt = salt.try_into().map_err(|_| EspError::Length)?;
        let gcm = match key.len() {
            16 => Aes128Gcm::new_from_slice(key).map(Gcm::Aes128),
            24 => Aes192Gcm::new_from_slice(key).map(Gcm::Aes192),
            _ => Aes256Gcm::new_from_slice(key).map(Gcm::Aes256),
        };
        Ok((gcm.map_err(|_| EspError::Length)?, salt))
    }

    fn gcm_seal(
        &self,
        sequence: u64,
        iv: [u8; 8],
        plain: &mut [u8],
    ) -> Result<[u8; TAG_LEN], EspError> {
        let (gcm, salt) = self.gcm()?;
        let (nonce, data) = (nonce(salt, iv), self.additional(sequence));
        let tag = match &gcm {
            Gcm::Aes128(gcm) => gcm.encrypt_inout_detached(&nonce, &data, plain.into()),
            Gcm::Aes192(gcm) => gcm.encrypt_inout_detached(&nonce, &data, plain.into()),
            Gcm::Aes256(gcm) => gcm.encrypt_inout_detached(&nonce, &data, plain.into()),
        };
        tag.map(Into::into).map_err(|_| EspError::Packet)
    }

    fn gcm_open(
        &self,
        sequence: u64,
        iv: &[u8],
        cipher: &mut [u8],
        tag: &[u8],
    ) -> Result<(), EspError> {
        let (gcm, salt) = self.gcm()?;
        let iv = iv.try_into().map_err(|_| EspError::Length)?;
        let tag: [u8; TAG_LEN] = tag.try_into().map_err(|_| EspError::Length)?;
        let (nonce, data, tag) = (nonce(salt, iv), self.additional(sequence), Tag::from(tag));
        let opened = match &gcm {
            Gcm::Aes128(gcm) => gcm.decrypt_inout_detached(&nonce, &data, cipher.into(), &tag),
            Gcm::Aes192(gcm) => gcm.decrypt_inout_detached(&nonce, &data, cipher.into(), &tag),
            Gcm::Aes256(gcm) => gcm.decrypt_inout_detached(&nonce, &data, cipher.into(), &tag),
        };
        opened.map_err(|_| EspError::Integrity)
    }

    fn cbc_encrypt(&self, iv: [u8; 16], plain: &mut [u8]) -> Result<(), EspError> {
        fn encrypt<M: KeyIvInit + BlockModeEncrypt>(
            key: &[u8],
            iv: [u8; 16],
            plain: &mut [u8],
        ) -> Result<(), EspError> {
            let len = plain.len();
            let mode = M::new_from_slices(key, &iv).map_err(|_| EspError::Length)?;
            mode.encrypt_padded::<NoPadding>(plain, len).map(|_| ()).map_err(|_| EspError::Length)
        }
        let key = &self.keys.encryption;
        match key.len() {
            16 => encrypt::<cbc::Encryptor<Aes128>>(key, iv, plain),
            24 => encrypt::<cbc::Encryptor<Aes192>>(key, iv, plain),
            _ => encrypt::<cbc::Encryptor<Aes256>>(key, iv, plain),
        }
    }

    fn cbc_decrypt(&self, iv: &[u8], cipher: &mut [u8]) -> Result<(), EspError> {
        fn decrypt<M: KeyIvInit + BlockModeDecrypt>(
            key: &[u8],
            iv: &[u8],
            cipher: &mut [u8],
        ) -> Result<(), EspError> {
            let mode = M::new_from_slices(key, iv).map_err(|_| EspError::Length)?;
            mode.decrypt_padded::<NoPadding>(cipher).map(|_| ()).map_err(|_| EspError::Length)
        }
        let key = &self.keys.encryption;
        match key.len() {
            16 => decrypt::<cbc::Decryptor<Aes128>>(key, iv, cipher),
            24 => decrypt::<cbc::Decryptor<Aes192>>(key, iv, cipher),
            _ => decrypt::<cbc::Decryptor<Aes256>>(key, iv, cipher),
        }
    }

    fn append_icv(&self, sequence: u64, out: &mut Vec<u8>) {
        let icv = self.mac(sequence, out);
        out.extend_from_slice(icv.get(..self.suite.icv_len()).unwrap_or(&icv));
    }

    /// In constant time. `octets` end with the ICV.
    fn check_icv(&self, sequence: u64, octets: &[u8], icv: &[u8]) -> Result<(), EspError> {
        let covered_len = octets.len().saturating_sub(icv.len());
        let covered = octets.get(..covered_len).ok_or(EspError::Length)?;
        let (_, high) = halves(sequence);
        let extra = high.to_be_bytes();
        let extra = if self.extended { extra.as_slice() } else { &[] };
        let key = &self.keys.authentication;
        fn check<M: Mac + KeyInit>(
            key: &[u8],
            parts: [&[u8]; 2],
            icv: &[u8],
        ) -> Result<(), EspError> {
            let mut mac = <M as KeyInit>::new_from_slice(key).map_err(|_| EspError::Length)?;
            parts.into_iter().for_each(|part| mac.update(part));
            mac.verify_truncated_left(icv).map_err(|_| EspError::Integrity)
        }
        let parts = [covered, extra];
        match self.suite.icv_len() {
            16 => check::<Hmac<Sha256>>(key, parts, icv),
            24 => check::<Hmac<Sha384>>(key, parts, icv),
            _ => check::<Hmac<Sha512>>(key, parts, icv),
        }
    }

    fn mac(&self, sequence: u64, covered: &[u8]) -> Vec<u8> {
        let (_, high) = halves(sequence);
        let extra = high.to_be_bytes();
        let extra = if self.extended { extra.as_slice() } else { &[] };
        fn digest<M: Mac + KeyInit>(key: &[u8], parts: [&[u8]; 2]) -> Vec<u8> {
            // A key of any length will do for HMAC.
            let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
            parts.into_iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().to_vec()
        }
        let (key, parts) = (self.keys.authentication.as_slice(), [covered, extra]);
        match self.suite.icv_len() {
            16 => digest::<Hmac<Sha256>>(key, parts),
            24 => digest::<Hmac<Sha384>>(key, parts),
            _ => digest::<Hmac<Sha512>>(key, parts),
        }
    }
}

/// AES-GCM by the length of its key.
enum Gcm {
    Aes128(Aes128Gcm),
    Aes192(Aes192Gcm),
    Aes256(Aes256Gcm),
}

/// RFC 4106 §4.
fn nonce(salt: [u8; SALT_LEN], iv: [u8; 8]) -> Nonce<U12> {
    let mut nonce = [0; 12];
    for (octet, from) in nonce.iter_mut().zip(salt.into_iter().chain(iv)) {
        *octet = from;
    }
    nonce.into()
}

/// Lower and upper half.
fn halves(sequence: u64) -> (u32, u32) {
    let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0);
    (half(sequence), half(sequence >> 32))
}

/// Takes the trailer off (RFC 4303 §2.4, §2.5 and §2.6).
fn strip(mut plain: Vec<u8>) -> Result<Opened, EspError> {
    let next_header = plain.pop().ok_or(EspError::Length)?;
    let pad_len = plain.pop().ok_or(EspError::Length)?;
    let payload_len = plain.len().checked_sub(pad_len.into()).ok_or(EspError::Padding)?;
    if !plain.iter().skip(payload_len).copied().eq(1..=pad_len) {
        return Err(EspError::Padding);
    }
    if next_header == NO_NEXT_HEADER {
        return Err(EspError::Dummy);
    }
    plain.truncate(payload_len);
    Ok(Opened { next_header, payload: plain })
}

#[cfg(test)]
mod tests;
