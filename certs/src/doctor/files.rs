//! The client's files: there, readable by this user and by nobody else, of the right kind, opened by the passphrase,
//! belonging together.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustls_pki_types::CertificateDer;
use shared::identity::Certificate;

use super::{
    Belongings,
    report::{Check, Report},
};
use crate::{
    client_tls::ClientFiles,
    credentials::{CredentialError, Credentials, is_encrypted, read_certificates, read_file},
    describe,
};

/// Reads what there is. Each kind of failing is told under its own check, once.
pub(super) fn read(files: &ClientFiles, report: &mut Report) -> Belongings {
    let nothing_named = files.shown().is_none();
    let named = named(files);
    let mut faults = Faults::default();
    for file in &named {
        if let Err(error) = read_file(file) {
            faults.add(error);
        }
    }
    let roots = roots(files, &mut faults);
    let credentials = if named.iter().any(|file| faults.concerns(file)) {
        None
    } else {
        files.credentials().map_err(|error| faults.add(error)).ok().flatten()
    };
    let credentials = credentials.filter(|credentials| leaf_parses(files, credentials, &mut faults));
    faults.tell(files, &named, report);
    let credentials = credentials.filter(|credentials| matches(files, credentials, report));
    Belongings { credentials, nothing_named, roots }
}

fn named(files: &ClientFiles) -> Vec<PathBuf> {
    let own = [&files.p12, &files.cert, &files.key, &files.passphrase_file];
    let mut named: Vec<PathBuf> = own.into_iter().flatten().chain(&files.cacerts).cloned().collect();
    named.dedup();
    named
}

fn roots(files: &ClientFiles, faults: &mut Faults) -> Vec<CertificateDer<'static>> {
    let mut roots = Vec::new();
    for file in &files.cacerts {
        if !faults.concerns(file) {
            match read_certificates(file) {
                Ok(certificates) => roots.extend(certificates),
                Err(error) => faults.add(error),
            }
        }
    }
    roots
}

fn leaf_parses(files: &ClientFiles, credentials: &Credentials, faults: &mut Faults) -> bool {
    let parsed = credentials.chain.iter().try_for_each(|der| Certificate::parse(der).map(|_| ()));
    let Err(error) = parsed else { return true };
    let file = files.shown().cloned().unwrap_or_default();
    faults.add(CredentialError::Malformed {
        file,
        text: format!("holds a damaged certificate ({error}): copy it again, all lines of it"),
    });
    false
}

/// What is wrong with the files, by check.
#[derive(Default)]
struct Faults {
    found: Vec<(Check, PathBuf, CredentialError)>,
}

impl Faults {
    fn add(&mut self, error: CredentialError) {
        let (check, file) = match &error {
            CredentialError::Absent { file } => (Check::FilesExist, file.clone()),
            CredentialError::Forbidden { file } => (Check::FilePermissions, file.clone()),
            CredentialError::Unreadable { file, .. } | CredentialError::Malformed { file, .. } => {
                (Check::FilesReadable, file.clone())
            }
            CredentialError::UnsupportedEncryption { file, .. }
            | CredentialError::NeedsPassphrase { file }
            | CredentialError::WrongPassphrase { file } => (Check::Passphrase, file.clone()),
            CredentialError::NoPassphrase { file, .. } => {
                (Check::Passphrase, file.clone().unwrap_or_default())
            }
        };
        self.found.push((check, file, error));
    }

    fn concerns(&self, file: &Path) -> bool {
        self.found.iter().any(|(_, other, _)| other == file)
    }

    fn of(&self, check: Check) -> impl Iterator<Item = &CredentialError> {
        self.found.iter().filter(move |(other, ..)| *other == check).map(|(.., error)| error)
    }

    fn tell(&self, files: &ClientFiles, named: &[PathBuf], report: &mut Report) {
        for (check, _, error) in &self.found {
            report.fail(*check, error.to_string(), remedy(error));
        }
        if files.shown().is_none() {
            report.fail(
                Check::FilesExist,
                "no client certificate is named",
                "give --cert and --key, or --p12: the files that the operator gave you",
            );
        } else if self.of(Check::FilesExist).next().is_none() {
            report.pass(Check::FilesExist, list(named));
        }
        let absent = self.of(Check::FilesExist).next().is_some();
        if self.of(Check::FilePermissions).next().is_none() && !absent {
            permissions(files, report);
        }
        if self.found.is_empty() {
            report.pass(Check::FilesReadable, contents(files));
        }
        if self.of(Check::Passphrase).next().is_none() {
            passphrase(files, !self.found.is_empty(), report);
        }
    }
}

fn remedy(error: &CredentialError) -> String {
    match error {
        CredentialError::Absent { .. } => {
            "correct the path (a relative one starts in the current folder), or ask the operator for the file".into()
        }
        CredentialError::Forbidden { file } => allow(file),
        CredentialError::Unreadable { .. } => "name a file, not a folder, on a disk that works".into(),
        CredentialError::Malformed { .. } => "do what the line above says, or ask the operator for the file again".into(),
        CredentialError::UnsupportedEncryption { .. } => "convert it as the line above says".into(),
        CredentialError::NeedsPassphrase { .. } => {
            "write the passphrase into a file that only you can read, and give it with --passphrase-file".into()
        }
        CredentialError::WrongPassphrase { .. } => {
            "check capital letters, spaces and which file the passphrase is for; whoever made the key knows it".into()
        }
        CredentialError::NoPassphrase { .. } => "check the file named with --passphrase-file".into(),
    }
}

/// Windows has no modes: there the owner is given the file.
fn allow(file: &Path) -> String {
    let file = file.display();
    if cfg!(windows) {
        format!("icacls \"{file}\" /grant:r \"%USERNAME%:R\"; or run this as the user who owns the file")
    } else {
        format!(
            "as its owner or root: chown \"$USER\" {file}; chmod 600 {file}; or run this as the user who owns it"
        )
    }
}

/// The key for its owner only.
fn permissions(files: &ClientFiles, report: &mut Report) {
    let Some(key) = files.key_file() else {
        return report.skip(Check::FilePermissions, "no key is named");
    };
    match others_may_read(key) {
        Some(mode) => report.warn(
            Check::FilePermissions,
            format!("{} can be read by other users of this machine (mode {mode:03o})", key.display()),
            format!("chmod 600 {}", key.display()),
        ),
        None => report.pass(Check::FilePermissions, "all files can be read by this user"),
    }
}

#[cfg(unix)]
fn others_may_read(key: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(key).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn others_may_read(key: &Path) -> Option<u32> {
    let _ = fs::metadata(key);
    None
}

fn contents(files: &ClientFiles) -> String {
    let kind = if files.p12.is_some() { "PKCS#12" } else { "PEM" };
    let shown = files.shown().map(|file| format!("{} is {kind}", file.display()));
    let roots = format!("{} for --cacert", describe::count(files.cacerts.len(), "file"));
    shown.into_iter().chain([roots]).collect::<Vec<_>>().join(", ")
}

fn passphrase(files: &ClientFiles, unknown: bool, report: &mut Report) {
    let encrypted =
        files.key_file().is_some_and(|key| files.p12.is_some() || is_encrypted(key).unwrap_or(false));
    if unknown || files.key_file().is_none() {
        report.skip(Check::Passphrase, "the key was not opened");
    } else if encrypted {
        report.pass(Check::Passphrase, "it opens the key");
    } else {
        report.pass(Check::Passphrase, "none is needed");
    }
}

fn matches(files: &ClientFiles, credentials: &Credentials, report: &mut Report) -> bool {
    let file = |file: Option<&PathBuf>| file.map(|file| file.display().to_string()).unwrap_or_default();
    let (cert, key) = (file(files.shown()), file(files.key_file()));
    match credentials.certified() {
        Ok(_) => report.pass(Check::KeyMatches, format!("{key} is the key of {cert}")),
        Err(rustls::Error::InconsistentKeys(_)) => {
            report.fail(
                Check::KeyMatches,
                format!("{key} is not the key of the first certificate in {cert}"),
                "use the key that was made together with this certificate (a renewal makes a new one); \
                 in the file of the certificate, yours comes first and its CA after it",
            );
        }
        Err(error) => {
            report.fail(
                Check::KeyMatches,
                format!("{key} is a key that cannot be used: {error}"),
                "use ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more",
            );
        }
    }
    credentials.certified().is_ok()
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
