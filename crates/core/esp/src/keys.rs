use alloc::vec::Vec;
use core::fmt;

use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// Keys of one direction of a security association. Their values are never printed, and overwritten when they
/// go.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Keys {
    /// For the cipher; with AES-GCM the salt of four octets follows the key (RFC 4106 §8.1). Empty for NULL.
    pub encryption: Vec<u8>,
    /// For the ICV. Empty with AES-GCM.
    pub authentication: Vec<u8>,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.encryption.zeroize();
        self.authentication.zeroize();
    }
}

impl ZeroizeOnDrop for Keys {}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}
