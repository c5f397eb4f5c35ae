//! The device's key, how it lies on disk, and its backup under a passphrase.

use core::fmt::Write as _;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::Signer as _;
use softbus_core::{DeviceId, Domain, Hash, Sig, Signer};
use zeroize::Zeroizing;

/// A device's Ed25519 key. It is wiped from memory when dropped and has no text form.
pub struct DeviceKey(ed25519_dalek::SigningKey);

/// First bytes of a key file.
const FILE_MAGIC: &[u8; 8] = b"SOFTBUSK";
const FILE_VERSION: u16 = 1;
/// Magic, version, algorithm (0: Ed25519), seed, checksum.
const FILE_BYTES: usize = 8 + 2 + 2 + 32 + 8;

/// Shortest passphrase of a backup, in bytes.
pub const PASSPHRASE_BYTES: usize = 8;
/// Longest backup text that is read, in bytes.
pub const BACKUP_BYTES: usize = 4096;
/// Random bytes that [`DeviceKey::backup`] needs.
pub const BACKUP_RANDOM: usize = 16 + 24;

const BACKUP_BEGIN: &str = "-----BEGIN SOFTBUS KEY BACKUP-----";
const BACKUP_END: &str = "-----END SOFTBUS KEY BACKUP-----";
const BACKUP_VERSION: u8 = 1;
/// Version, stretching (memory, passes, lanes), salt, nonce, device.
const BACKUP_HEAD: usize = 1 + 4 + 4 + 1 + 16 + 24 + 32;
/// Head, sealed seed with its tag, checksum.
const BACKUP_LEN: usize = BACKUP_HEAD + 32 + 16 + 8;
/// Stretching of a new backup: memory in KiB, passes, lanes. Within what a small device has.
const STRETCH: (u32, u32, u8) = (32 * 1024, 3, 1);
/// Most that a backup may ask for: it comes from a file, and shall not use a device up.
const STRETCH_MOST: (u32, u32, u8) = (256 * 1024, 16, 4);

/// Why a key could not be read, backed up or restored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a key file at all.
    #[error("this is not a softbus key file")]
    NotAKey,
    /// A key file of a later version.
    #[error("the key file has version {found}, this softbus knows version {FILE_VERSION}: update softbus")]
    Version {
        /// Found.
        found: u16,
    },
    /// The checksum is wrong.
    #[error("the key file is damaged: restore the key from its backup (`softbus key restore`)")]
    Damaged,
    /// Not a backup text.
    #[error("this is not a key backup: copy all of it, from {BACKUP_BEGIN} to {BACKUP_END}")]
    NotABackup,
    /// A backup of a later version.
    #[error("the backup has version {found}, this softbus knows version {BACKUP_VERSION}: update softbus")]
    BackupVersion {
        /// Found.
        found: u8,
    },
    /// The backup text's checksum is wrong.
    #[error("the backup text is damaged: some letters of it are wrong or missing")]
    BackupDamaged,
    /// It does not open.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// Too short to protect anything.
    #[error("the passphrase is too short: take at least {PASSPHRASE_BYTES} letters, better four words")]
    Weak,
    /// There is not enough memory to stretch the passphrase, or its parameters make no sense.
    #[error("the passphrase cannot be stretched: {0}")]
    Stretch(String),
}

impl DeviceKey {
    /// From its 32-byte seed (RFC 8032, section 5.1.5), which is random.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The device this key makes.
    pub fn id(&self) -> DeviceId {
        DeviceId(self.0.verifying_key().to_bytes())
    }

    /// Signs bytes as they are, without a domain: only for the libp2p TLS extension, whose format is fixed.
    pub fn sign_raw(&self, bytes: &[u8]) -> Sig {
        Sig::from_bytes(self.0.sign(bytes).to_bytes())
    }

    /// The content of its key file.
    pub fn to_file(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES));
        bytes.extend_from_slice(FILE_MAGIC);
        bytes.extend_from_slice(&FILE_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(self.0.as_bytes());
        let sum = checksum("softbus key file v1", &bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// Reads the content of a key file. Refuses whatever was not written by [`DeviceKey::to_file`].
    pub fn from_file(bytes: &[u8]) -> Result<Self, KeyError> {
        let rest = bytes.strip_prefix(FILE_MAGIC).ok_or(KeyError::NotAKey)?;
        let (version, _) = rest.split_first_chunk::<2>().ok_or(KeyError::Damaged)?;
        let version = u16::from_le_bytes(*version);
        if version != FILE_VERSION {
            return Err(KeyError::Version { found: version });
        }
        let bytes: &[u8; FILE_BYTES] = bytes.try_into().map_err(|_| KeyError::Damaged)?;
        let (content, sum) = bytes.split_at(FILE_BYTES - 8);
        if checksum("softbus key file v1", content) != *sum || content[10..12] != [0, 0] {
            return Err(KeyError::Damaged);
        }
        let seed = Zeroizing::new(<[u8; 32]>::try_from(&content[12..]).map_err(|_| KeyError::Damaged)?);
        Ok(Self::from_seed(&seed))
    }

    /// Seals the key under a passphrase, as a text to print or keep (Argon2id, XChaCha20-Poly1305). Takes some
    /// tenths of a second and 32 MiB: run it where CPU-heavy work runs.
    pub fn backup(&self, passphrase: &str, random: [u8; BACKUP_RANDOM]) -> Result<String, KeyError> {
        if passphrase.len() < PASSPHRASE_BYTES {
            return Err(KeyError::Weak);
        }
        let mut bytes = Vec::with_capacity(BACKUP_LEN);
        bytes.push(BACKUP_VERSION);
        bytes.extend_from_slice(&STRETCH.0.to_le_bytes());
        bytes.extend_from_slice(&STRETCH.1.to_le_bytes());
        bytes.push(STRETCH.2);
        bytes.extend_from_slice(&random);
        bytes.extend_from_slice(&self.id().0);
        let cipher = cipher(passphrase, STRETCH, &random[..16])?;
        let sealed = cipher
            .encrypt(XNonce::from_slice(&random[16..]), Payload { msg: self.0.as_bytes(), aad: &bytes })
            .map_err(|_| KeyError::Stretch("sealing failed".into()))?;
        bytes.extend_from_slice(&sealed);
        let sum = checksum("softbus key backup v1", &bytes);
        bytes.extend_from_slice(&sum);

        let mut text = format!("{BACKUP_BEGIN}\n");
        for line in BASE32_NOPAD.encode(&bytes).as_bytes().chunks(50) {
            for (n, group) in line.chunks(5).enumerate() {
                // Base32 is ASCII; writing to a string does not fail.
                let _ = write!(text, "{}{}", if n > 0 { " " } else { "" }, String::from_utf8_lossy(group));
            }
            text.push('\n');
        }
        text.push_str(BACKUP_END);
        text.push('\n');
        Ok(text)
    }

    /// Whose key a backup text holds, without opening it.
    pub fn backup_of(text: &str) -> Result<DeviceId, KeyError> {
        let bytes = read_backup(text)?;
        <[u8; 32]>::try_from(&bytes[BACKUP_HEAD - 32..BACKUP_HEAD])
            .map(DeviceId)
            .map_err(|_| KeyError::NotABackup)
    }

    /// Opens a backup. As slow as [`DeviceKey::backup`].
    pub fn restore(text: &str, passphrase: &str) -> Result<Self, KeyError> {
        let bytes = read_backup(text)?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let stretch = (number(1), number(5), bytes[9]);
        if stretch.0 > STRETCH_MOST.0 || stretch.1 > STRETCH_MOST.1 || stretch.2 > STRETCH_MOST.2 {
            return Err(KeyError::Stretch(
                "the backup asks for more memory or time than any softbus writes".into(),
            ));
        }
        let (head, sealed) = bytes[..BACKUP_LEN - 8].split_at(BACKUP_HEAD);
        let seed = cipher(passphrase, stretch, &head[10..26])?
            .decrypt(XNonce::from_slice(&head[26..50]), Payload { msg: sealed, aad: head })
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Passphrase)?;
        let seed = Zeroizing::new(<[u8; 32]>::try_from(&seed[..]).map_err(|_| KeyError::BackupDamaged)?);
        let key = Self::from_seed(&seed);
        if key.id().0 == head[50..82] { Ok(key) } else { Err(KeyError::BackupDamaged) }
    }
}

/// Reads a backup's bytes and checks form and checksum.
fn read_backup(text: &str) -> Result<[u8; BACKUP_LEN], KeyError> {
    if text.len() > BACKUP_BYTES {
        return Err(KeyError::NotABackup);
    }
    let (_, rest) = text.split_once(BACKUP_BEGIN).ok_or(KeyError::NotABackup)?;
    let (inside, _) = rest.split_once(BACKUP_END).ok_or(KeyError::NotABackup)?;
    let letters: String =
        inside.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect();
    let bytes = BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| KeyError::BackupDamaged)?;
    match bytes.first() {
        Some(&BACKUP_VERSION) => {}
        Some(&found) if bytes.len() >= BACKUP_HEAD => return Err(KeyError::BackupVersion { found }),
        _ => return Err(KeyError::BackupDamaged),
    }
    let bytes: [u8; BACKUP_LEN] = bytes.try_into().map_err(|_| KeyError::BackupDamaged)?;
    let (content, sum) = bytes.split_at(BACKUP_LEN - 8);
    if checksum("softbus key backup v1", content) == *sum { Ok(bytes) } else { Err(KeyError::BackupDamaged) }
}

fn cipher(
    passphrase: &str,
    (memory, passes, lanes): (u32, u32, u8),
    salt: &[u8],
) -> Result<XChaCha20Poly1305, KeyError> {
    let stretch = |e: argon2::Error| KeyError::Stretch(e.to_string());
    let params = Params::new(memory, passes, u32::from(lanes), Some(32)).map_err(stretch)?;
    let mut key = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key[..])
        .map_err(stretch)?;
    Ok(XChaCha20Poly1305::new((&*key).into()))
}

fn checksum(context: &str, bytes: &[u8]) -> [u8; 8] {
    let hash = Hash::derive(context, bytes).0;
    [hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]]
}

impl Signer for DeviceKey {
    fn id(&self) -> DeviceId {
        DeviceKey::id(self)
    }

    fn sign(&self, domain: Domain, body: &[u8]) -> Sig {
        self.sign_raw(&domain.input(body))
    }
}

impl core::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DeviceKey(of {})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_file_and_back() {
        let key = DeviceKey::from_seed(&[3; 32]);
        let file = key.to_file();
        assert_eq!(file.len(), FILE_BYTES);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&file),
            "534f46544255534b010000000303030303030303030303030303030303030303030303030303030303030303cb076319781b19da"
        );
        assert_eq!(DeviceKey::from_file(&file).unwrap().id(), key.id());
    }

    #[test]
    fn garbage_is_no_key() {
        let file = DeviceKey::from_seed(&[3; 32]).to_file();
        assert_eq!(DeviceKey::from_file(b"").err(), Some(KeyError::NotAKey));
        assert_eq!(DeviceKey::from_file(&[0; 32]).err(), Some(KeyError::NotAKey));
        assert_eq!(DeviceKey::from_file(&file[..FILE_BYTES - 1]).err(), Some(KeyError::Damaged));
        for bit in 0..FILE_BYTES * 8 {
            let mut bad = file.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(DeviceKey::from_file(&bad).is_err(), "bit {bit}");
        }
        let mut newer = file.to_vec();
        newer[8] = 2;
        assert_eq!(DeviceKey::from_file(&newer).err(), Some(KeyError::Version { found: 2 }));
    }

    #[test]
    fn backup_and_restore() {
        let key = DeviceKey::from_seed(&[5; 32]);
        let text = key.backup("correct horse", [9; BACKUP_RANDOM]).unwrap();
        assert_eq!(DeviceKey::backup_of(&text).unwrap(), key.id());
        assert_eq!(DeviceKey::restore(&text, "correct horse").unwrap().id(), key.id());
        let typed = format!("My key:\r\n{}\r\n(end)", text.to_lowercase().replace('\n', "\r\n  "));
        let typed = typed.replace("-----begin softbus key backup-----", BACKUP_BEGIN);
        let typed = typed.replace("-----end softbus key backup-----", BACKUP_END);
        assert_eq!(DeviceKey::restore(&typed, "correct horse").unwrap().id(), key.id());
        assert_eq!(DeviceKey::restore(&text, "correct house").err(), Some(KeyError::Passphrase));
        assert_eq!(DeviceKey::restore("hello", "correct horse").err(), Some(KeyError::NotABackup));
        assert_eq!(key.backup("short", [9; BACKUP_RANDOM]).err(), Some(KeyError::Weak));
        assert!(!text.contains(&data_encoding::BASE32_NOPAD.encode(&[5; 30])));
    }

    #[test]
    fn a_backup_cannot_ask_for_the_moon() {
        let key = DeviceKey::from_seed(&[5; 32]);
        let text = key.backup("correct horse", [9; BACKUP_RANDOM]).unwrap();
        let mut bytes = read_backup(&text).unwrap();
        bytes[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        let sum = checksum("softbus key backup v1", &bytes[..BACKUP_LEN - 8]);
        bytes[BACKUP_LEN - 8..].copy_from_slice(&sum);
        let text = format!("{BACKUP_BEGIN}\n{}\n{BACKUP_END}", BASE32_NOPAD.encode(&bytes));
        assert!(matches!(DeviceKey::restore(&text, "correct horse"), Err(KeyError::Stretch(_))));
    }

    proptest! {
        #[test]
        fn damage_is_told_from_a_wrong_passphrase(at in 0usize..220, letter in "[A-Z2-7]") {
            // Any one wrong letter is found by the checksum, before the slow part.
            let bytes = {
                let key = DeviceKey::from_seed(&[5; 32]);
                let mut bytes = [1u8; BACKUP_LEN];
                bytes[50..82].copy_from_slice(&key.id().0);
                let sum = checksum("softbus key backup v1", &bytes[..BACKUP_LEN - 8]);
                bytes[BACKUP_LEN - 8..].copy_from_slice(&sum);
                bytes
            };
            let mut letters = BASE32_NOPAD.encode(&bytes);
            let at = at % letters.len();
            prop_assume!(letters[at..=at] != letter);
            letters.replace_range(at..=at, &letter);
            let text = format!("{BACKUP_BEGIN}\n{letters}\n{BACKUP_END}");
            let found = read_backup(&text).err();
            let told = matches!(found, Some(KeyError::BackupDamaged | KeyError::BackupVersion { .. }));
            prop_assert!(told, "{:?}", found);
        }

        #[test]
        fn hostile_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "\\PC{0,200}") {
            let _ = DeviceKey::from_file(&bytes);
            let _ = DeviceKey::backup_of(&text);
            let _ = read_backup(&format!("{BACKUP_BEGIN}{text}{BACKUP_END}"));
        }
    }
}
