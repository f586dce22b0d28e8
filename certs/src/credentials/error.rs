//! Why a file with a certificate or key cannot be used: one variant per thing that somebody can do about it.

use std::{io, path::PathBuf};

/// Why a certificate, key or PKCS#12 file cannot be used. The texts name the file, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// There is no such file.
    #[error("{} does not exist: check the path", file.display())]
    Absent {
        /// The file.
        file: PathBuf,
    },
    /// This user may not read it.
    #[error("{} cannot be read: permission denied to this user", file.display())]
    Forbidden {
        /// The file.
        file: PathBuf,
    },
    /// A folder, a broken disk.
    #[error("{} cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not what the option takes.
    #[error("{} {text}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What it is instead, and what to do.
        text: String,
    },
    /// Encrypted in a way that is not read here.
    #[error("{} {text}", file.display())]
    UnsupportedEncryption {
        /// The file.
        file: PathBuf,
        /// Which, and how to convert it.
        text: String,
    },
    /// Encrypted, and no passphrase was given.
    #[error("{} is encrypted and no passphrase was given: name a file that holds it with --passphrase-file, or run this on a terminal to be asked", file.display())]
    NeedsPassphrase {
        /// The file.
        file: PathBuf,
    },
    /// The passphrase is for something else.
    #[error("the passphrase does not open {}", file.display())]
    WrongPassphrase {
        /// The file.
        file: PathBuf,
    },
    /// The passphrase itself could not be had.
    #[error("the passphrase cannot be read{}: {text}", file.as_ref().map(|file| format!(" from {}", file.display())).unwrap_or_default())]
    NoPassphrase {
        /// Its file; `None` for the terminal.
        file: Option<PathBuf>,
        /// What is wrong.
        text: String,
    },
}
