//! What a client gets beside certificate and key: PKCS#12 for Windows and Java, and a page that says how to use them.
//!
//! In: an issued certificate with its key. Out: bytes and text. Refused: nothing; where the client keeps its own key,
//! there is no PKCS#12.

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey as Pkcs12Key, PrivateKeyChain};

use crate::{IssueError, Issued, credentials::Passphrase};

/// PKCS#12 derives the key that protects the file by so many rounds; OpenSSL's default is 2048.
const ROUNDS: u32 = 20_000;

/// A passphrase that nobody has to remember: 130 random bits in letters and digits that are not mistaken for others.
pub fn random_passphrase() -> Result<Passphrase, IssueError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 26];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IssueError::NoRandomness)?;
    let letters = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)]));
    Ok(Passphrase::new(letters.collect()))
}

impl Issued {
    /// Certificate, issuing CA and key in one file (PKCS#12, AES-256, HMAC-SHA-256). `None` where the key is not here.
    pub fn pkcs12(&self, passphrase: &Passphrase) -> Result<Option<Vec<u8>>, IssueError> {
        if !self.key().is_here() || self.key().is_encrypted() {
            return Ok(None);
        }
        let key = Pkcs12Key::from_der(self.key().der()?.secret_der())?;
        let chain =
            self.chain().iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
        let id = self.facts().key_id.clone().unwrap_or_default();
        let mut store = KeyStore::new();
        let entry = KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, key, chain));
        store.add_entry(self.name().as_str(), entry);
        let writer = store.writer(passphrase.as_str()).encryption_iterations(ROUNDS).mac_iterations(ROUNDS);
        Ok(Some(writer.write()?))
    }

    /// `README.txt`: what each file is, and the line that works on each platform.
    #[must_use]
    pub fn readme(&self, url: &str, pkcs12: bool) -> String {
        let (name, url) = (self.name(), url.trim_end_matches('/'));
        let key = if self.key().is_here() {
            format!("  {name}.key          the private key. Nobody else may have it: it is your voice\n")
        } else {
            format!("  (your own key)  the one you made the request with, here called {name}.key\n")
        };
        let bundle = if pkcs12 {
            format!(
                "  {name}.p12          both in one file, for Windows and Java. Its password comes to you by another way\n"
            )
        } else {
            String::new()
        };
        let windows = if pkcs12 {
            format!(
                "Windows (its own curl.exe uses Schannel, which reads no PEM key; PASSWORD is that of {name}.p12):\n\n  \
                 curl.exe --cert {name}.p12:PASSWORD --cert-type P12 --cacert ca.crt --ssl-revoke-best-effort ^\n    \
                 {url}/api/v1/whoami\n\n"
            )
        } else {
            format!(
                "Windows (its own curl.exe uses Schannel, which reads no PEM key; make a .p12 of your key first):\n\n  \
                 openssl pkcs12 -export -in {name}.crt -inkey {name}.key -out {name}.p12\n  \
                 curl.exe --cert {name}.p12:PASSWORD --cert-type P12 --cacert ca.crt --ssl-revoke-best-effort ^\n    \
                 {url}/api/v1/whoami\n\n"
            )
        };
        format!(
            "Certificate of {name}, valid until {}\n\
             {}\n\n\
             {key}  \
               {name}.crt          the certificate and the CA that issued it\n  \
               ca.crt          the root: whom you believe\n\
             {bundle}\n\
             1. Put the files where your program finds them, readable by it alone:\n     \
                  chmod 600 {name}.key                                       (Linux, macOS)\n     \
                  icacls {name}.key /inheritance:r /grant:r \"%USERNAME%:R\"    (Windows)\n\n\
             2. Ask the proxy who it thinks you are.\n\n\
             Linux, macOS, and a curl on Windows that is built with OpenSSL:\n\n  \
               curl --cert {name}.crt --key {name}.key --cacert ca.crt {url}/api/v1/whoami\n\n\
             {windows}\
             3. Send a message: put this into message.json, and the options of the line above before it.\n\n  \
               {{\"sender_number\": \"+1234567890\", \"message_body\": \"Your message here\"}}\n\n  \
               curl … -H \"Content-Type: application/json\" --data-binary @message.json {url}/api/v1/messages\n\n\
             Without curl: portcullis-certs send. If it does not work: portcullis-certs doctor says why.\n\
             Keep a copy of these files in a safe place. When the key may have been seen, say so at once.\n",
            self.not_after().date(),
            self.fingerprint_line(),
        )
    }
}
