//! What went wrong, with what, and what to do about it.

use std::io;

/// A refusal of the host, or of a value that was given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process lacks a privilege.
    #[error(
        "cannot {operation} {object}: {source}. Run as root, or give the process CAP_NET_ADMIN \
         (and CAP_SYS_ADMIN where it enters network namespaces)"
    )]
    NotPermitted {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The host's answer.
        source: io::Error,
    },
    /// The host has no TUN driver.
    #[error(
        "cannot {operation} {object}: {source}. /dev/net/tun is missing: load the module (modprobe \
         tun), or give the container that device"
    )]
    NoTunDriver {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The host's answer.
        source: io::Error,
    },
    /// There is no such object.
    #[error("cannot {operation} {object}: {source}. Check the name, or create it first")]
    NotFound {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The host's answer.
        source: io::Error,
    },
    /// The object is there already.
    #[error(
        "cannot {operation} {object}: {source}. Remove the old one, or choose another name; \
         another process may own it"
    )]
    Exists {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The host's answer.
        source: io::Error,
    },
    /// A value that the host would not take.
    #[error("{value:?} is no {what}: {expected}")]
    Invalid {
        /// What it should be.
        what: &'static str,
        /// The value.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// Anything else that the host says.
    #[error("cannot {operation} {object}: {source}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The host's answer.
        source: io::Error,
    },
}

impl Error {
    /// Sorts the host's answer by what the operator can do about it.
    pub(crate) fn new(
        operation: &'static str,
        object: impl Into<String>,
        source: io::Error,
    ) -> Self {
        let object = object.into();
        let errno = source.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
        match errno {
            Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
                Self::NotPermitted { operation, object, source }
            }
            Some(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV | rustix::io::Errno::SRCH) => {
                Self::NotFound { operation, object, source }
            }
            Some(rustix::io::Errno::EXIST | rustix::io::Errno::BUSY) => {
                Self::Exists { operation, object, source }
            }
            _ => Self::Failed { operation, object, source },
        }
    }

    /// The host's answer to a netlink request.
    pub(crate) fn netlink(
        operation: &'static str,
        object: impl Into<String>,
        error: rtnetlink::Error,
    ) -> Self {
        let source = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other.to_string()),
        };
        Self::new(operation, object, source)
    }

    /// True when the object is there already: for those who only want it to be there.
    #[must_use]
    pub const fn is_exists(&self) -> bool {
        matches!(self, Self::Exists { .. })
    }

    /// True when there is no such object: for those who only want it to be gone.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_says_what_to_do() {
        let rows = [
            (1, "CAP_NET_ADMIN"),
            (13, "CAP_NET_ADMIN"),
            (2, "create it first"),
            (19, "create it first"),
            (17, "another name"),
            (16, "another process may own it"),
        ];
        for (errno, advice) in rows {
            let error = Error::new("open", "TUN hp0", io::Error::from_raw_os_error(errno));
            let text = error.to_string();
            assert!(text.starts_with("cannot open TUN hp0: "), "{text}");
            assert!(text.contains(advice), "{text}");
        }
        let other = Error::new("open", "TUN hp0", io::Error::from_raw_os_error(5));
        assert!(matches!(other, Error::Failed { .. }));
    }
}
