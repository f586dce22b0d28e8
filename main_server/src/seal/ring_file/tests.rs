//! A ring is made once, changed as a whole, and never loses a key by mistake.

use super::*;
use std::{fs, os::unix::fs::PermissionsExt as _};

fn made() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keyring.toml");
    new_keyring(&file).unwrap();
    (folder, file)
}

fn names(file: &Path) -> (String, Vec<String>) {
    let names = key_names(file).unwrap();
    (names.current.to_string(), names.all.iter().map(ToString::to_string).collect())
}

fn only_file_is(folder: &tempfile::TempDir, file: &Path) -> bool {
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files == [file]
}

#[test]
fn a_credential_of_systemd_is_nobody_elses() {
    assert!(!others_may(0o440, 0, 0) && !others_may(0o400, 61_184, 61_184) && !others_may(0o600, 0, 0));
    for (mode, owner, group) in [(0o440, 0, 1), (0o440, 1, 0), (0o640, 0, 0), (0o444, 0, 0), (0o460, 0, 0)] {
        assert!(others_may(mode, owner, group), "{mode:o} {owner}:{group}");
    }
}

#[test]
fn a_new_key_ring_is_its_owners_alone_and_never_overwritten() {
    let (_folder, file) = made();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(names(&file), ("k1".to_owned(), vec!["k1".to_owned()]));
    assert!(new_keyring(&file).unwrap_err().to_string().contains("cannot be made"));
}

#[test]
fn a_key_ring_that_others_can_read_is_refused() {
    let (_folder, file) = made();
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        for refusal in [key_names(&file).map(drop), add_key(&file).map(drop)] {
            assert!(refusal.unwrap_err().to_string().contains("chmod 600"));
        }
    }
}

#[test]
fn a_rotation_adds_a_key_and_keeps_what_was_there() {
    let (folder, file) = made();
    let before = Written::parse(&read(&file).unwrap()).unwrap();
    assert_eq!(add_key(&file).unwrap().as_str(), "k2");
    assert_eq!(add_key(&file).unwrap().as_str(), "k3");
    assert_eq!(names(&file), ("k3".to_owned(), vec!["k1".to_owned(), "k2".to_owned(), "k3".to_owned()]));
    let after = Written::parse(&read(&file).unwrap()).unwrap();
    Ring::of(&after).unwrap().follows(&Ring::of(&before).unwrap()).unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    assert!(only_file_is(&folder, &file));
}

#[test]
fn a_key_with_a_dot_in_its_name_survives_a_rotation() {
    let (_folder, file) = made();
    let text =
        fs::read_to_string(&file).unwrap().replace("k1 =", "\"2026.11\" =").replace("\"k1\"", "\"2026.11\"");
    fs::write(&file, text).unwrap();
    add_key(&file).unwrap();
    assert_eq!(names(&file), ("k1".to_owned(), vec!["2026.11".to_owned(), "k1".to_owned()]));
}

#[test]
fn the_current_key_and_an_unknown_one_are_not_taken_out() {
    let (folder, file) = made();
    let (first, missing): (Name, Name) = ("k1".parse().unwrap(), "k7".parse().unwrap());
    assert!(remove_key(&file, &first).unwrap_err().to_string().contains("k1 is the current key"));
    assert!(remove_key(&file, &missing).unwrap_err().to_string().contains("has no key k7"));
    add_key(&file).unwrap();
    remove_key(&file, &first).unwrap();
    assert_eq!(names(&file), ("k2".to_owned(), vec!["k2".to_owned()]));
    assert!(only_file_is(&folder, &file));
}

#[test]
fn a_second_rotation_at_the_same_time_is_refused_and_the_file_stays() {
    let (folder, file) = made();
    let before = fs::read(&file).unwrap();
    fs::write(folder.path().join("keyring.toml.new"), "").unwrap();
    let refusal = add_key(&file).unwrap_err().to_string();
    assert!(refusal.contains("keyring.toml.new") && refusal.contains("remove it"), "{refusal}");
    assert_eq!(fs::read(&file).unwrap(), before);
}
