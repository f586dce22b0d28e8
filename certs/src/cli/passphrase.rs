//! Passphrases: from `--passphrase-file`, from the environment, or from the person at the terminal. Never an argument,
//! for everybody on the machine can list those.

use std::io::{self, IsTerminal as _};

use anyhow::{Context, bail, ensure};

use super::Place;
use crate::{Authority, Ca, credentials::Passphrase};

/// Holds the passphrase of the CA's keys.
pub(super) const VARIABLE: &str = "PORTCULLIS_CA_PASSPHRASE";

/// Opens the keys of these CAs, as far as they are under a passphrase; asks once for all of them.
pub(super) fn unlock(place: &Place, authority: &mut Authority, cas: &[Ca]) -> anyhow::Result<()> {
    let locked: Vec<_> = cas.iter().copied().filter(|ca| authority.issuer(*ca).is_locked()).collect();
    if locked.is_empty() {
        return Ok(());
    }
    let passphrase = match given(place)? {
        Some(passphrase) => passphrase,
        None if io::stdin().is_terminal() => {
            ask(&format!("Passphrase of the CA in {}: ", place.dir.display()))?
        }
        None => bail!(
            "the key of the {} is under a passphrase: give it with --passphrase-file FILE or {VARIABLE}, or run this on \
             a terminal",
            locked[0]
        ),
    };
    for ca in locked {
        authority.unlock(ca, &passphrase)?;
    }
    Ok(())
}

/// The passphrase of a new CA, typed twice where it is typed.
pub(super) fn choose(place: &Place) -> anyhow::Result<Passphrase> {
    if let Some(passphrase) = given(place)? {
        return Ok(passphrase);
    }
    ensure!(
        io::stdin().is_terminal(),
        "the keys of a CA are kept under a passphrase: give it with --passphrase-file FILE or {VARIABLE}, run this on a \
         terminal, or use --no-passphrase if the folder is protected in another way"
    );
    let passphrase = ask("Passphrase of the new CA: ")?;
    ensure!(ask("The same again: ")?.as_str() == passphrase.as_str(), "the two passphrases differ");
    Ok(passphrase)
}

fn given(place: &Place) -> anyhow::Result<Option<Passphrase>> {
    if let Some(file) = &place.passphrase_file {
        return Ok(Some(Passphrase::read(file)?));
    }
    #[expect(clippy::disallowed_methods, reason = "as an option of clap it could be given as an argument")]
    let variable = std::env::var(VARIABLE);
    Ok(variable.ok().filter(|text| !text.is_empty()).map(Passphrase::new))
}

fn ask(question: &str) -> anyhow::Result<Passphrase> {
    rpassword::prompt_password(question).map(Passphrase::new).context("the passphrase cannot be read")
}
