//! A passphrase and where it comes from. Never an argument: everybody on the machine can list those.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    str,
};

use zeroize::Zeroizing;

use super::{CredentialError, read_file};

/// A passphrase; wiped from memory when dropped, and never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes what was typed or read.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Reads a file. One newline at its end, which editors and `echo` leave, is not part of it.
    pub fn read(file: &Path) -> Result<Self, CredentialError> {
        let bytes = read_file(file)?;
        let Ok(text) = str::from_utf8(&bytes) else {
            let text = "it is not UTF-8 text".to_owned();
            return Err(CredentialError::NoPassphrase { file: Some(file.to_owned()), text });
        };
        let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(Self::new(line.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(passphrase)")
    }
}

/// Where a passphrase comes from when a file turns out to need one.
#[derive(Debug, Clone)]
pub enum PassphraseSource {
    /// A file that holds it.
    File(PathBuf),
    /// The person at the terminal; nobody, where there is none.
    Terminal,
}

impl PassphraseSource {
    /// `--passphrase-file FILE`, or the terminal.
    #[must_use]
    pub fn of(file: Option<PathBuf>) -> Self {
        file.map_or(Self::Terminal, Self::File)
    }

    /// The passphrase for `file`.
    pub fn ask(&self, file: &Path) -> Result<Passphrase, CredentialError> {
        match self {
            Self::File(passphrase) => Passphrase::read(passphrase),
            // a pipe or a timer has nobody to answer, and must not wait for ever
            Self::Terminal if !io::stdin().is_terminal() => {
                Err(CredentialError::NeedsPassphrase { file: file.to_owned() })
            }
            Self::Terminal => rpassword::prompt_password(format!("Passphrase of {}: ", file.display()))
                .map(Passphrase::new)
                .map_err(|error| CredentialError::NoPassphrase { file: None, text: error.to_string() }),
        }
    }
}
