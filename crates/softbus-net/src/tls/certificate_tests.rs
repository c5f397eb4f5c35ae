use proptest::prelude::*;

use super::*;

/// 2026-01-01.
const NOW_S: u64 = 1_767_225_600;

struct Counting(std::sync::atomic::AtomicU8);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

fn device(n: u8) -> DeviceKey {
    DeviceKey::from_seed(&[n; 32])
}

fn identity() -> Identity {
    Identity::new(&device(1), &Counting(0.into())).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn our_certificate_is_golden_and_proves_the_device() {
    let der = identity().certificate;
    assert_eq!(
        data_encoding::HEXLOWER.encode(blake3::hash(&der).as_bytes()),
        "80187087a36d51a65fdacf2c5ff13757975c622d5c6c9b74fffdde3abe722956",
        "the same key and entropy must give the same certificate; it now is {}",
        data_encoding::HEXLOWER.encode(&der)
    );
    assert!(der.len() < 400, "{}", der.len());
    assert_eq!(parse_certificate(&der, NOW_S), Ok(device(1).id()));
}

/// A certificate as stock libp2p makes it: an Ed25519 identity over an ECDSA P-256 certificate key.
#[test]
fn a_stock_libp2p_certificate_is_accepted() {
    let der = hex(STOCK);
    let id = parse_certificate(&der, NOW_S).unwrap();
    assert_eq!(id.to_string(), "12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq");
}

const STOCK: &str = "308201773082011ea003020102020900f5bd0debaa597f52300a06082a8648ce3d04030230003020170d3735303130313030303030305a180f34303936303130313030303030305a30003059301306072a8648ce3d020106082a8648ce3d030107034200046bf9871220d71dcb3483ecdfcbfcc7c103f8509d0974b3c18ab1f1be1302d643103a08f7a7722c1b247ba3876fe2c59e26526f479d7718a85202ddbe47562358a37f307d307b060a2b0601040183a25a01010101ff046a30680424080112207fda21856709c5ae12fd6e8450623f15f11955d384212b89f56e7e136d2e17280440aaa6bffabe91b6f30c35e3aa4f94b1188fed96b0ffdd393f4c58c1c047854120e674ce64c788406d1c2c4b116581fd7411b309881c3c7f20b46e54c7e6fe7f0f300a06082a8648ce3d040302034700304402207d1a1dbd2bda235ff2ec87daf006f9b04ba076a5a5530180cd9c2e8f6399e09d0220458527178c7e77024601dbb1b256593e9b96d961b96349d1f560114f61a87595";

#[test]
fn a_swapped_device_key_is_refused() {
    // Somebody else's key over our signature: the extension says device 2, device 1 signed.
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let mut extension = signed_key(&device(1), &key.verifying_key());
    extension[8..40].copy_from_slice(&device(2).id().0);
    let der = self_signed(&key, Some(extension), &[1], (1975, 4096)).unwrap();
    assert_eq!(parse_certificate(&der, NOW_S), Err(CertificateError::DeviceSignature));
}

#[test]
fn an_extension_taken_from_another_certificate_is_refused() {
    let theirs = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let extension = signed_key(&device(1), &theirs.verifying_key());
    let mine = ed25519_dalek::SigningKey::from_bytes(&[10; 32]);
    let der = self_signed(&mine, Some(extension), &[1], (1975, 4096)).unwrap();
    assert_eq!(parse_certificate(&der, NOW_S), Err(CertificateError::DeviceSignature));
}

#[test]
fn a_missing_extension_is_refused() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let der = self_signed(&key, None, &[1], (1975, 4096)).unwrap();
    assert_eq!(parse_certificate(&der, NOW_S), Err(CertificateError::Extension));
}

#[test]
fn only_now_counts() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let extension = signed_key(&device(1), &key.verifying_key());
    let old = self_signed(&key, Some(extension.clone()), &[1], (1975, 2001)).unwrap();
    assert_eq!(parse_certificate(&old, NOW_S), Err(CertificateError::Expired));
    let coming = self_signed(&key, Some(extension), &[1], (3000, 4096)).unwrap();
    assert_eq!(parse_certificate(&coming, NOW_S), Err(CertificateError::Expired));
    assert_eq!(parse_certificate(&identity().certificate, u64::MAX), Err(CertificateError::Expired));
}

#[test]
fn oversized_and_trailing_bytes_are_refused() {
    let mut der = identity().certificate.to_vec();
    der.push(0);
    assert_eq!(parse_certificate(&der, NOW_S), Err(CertificateError::Malformed));
    assert_eq!(parse_certificate(&vec![0x30; CERTIFICATE_BYTES + 1], NOW_S), Err(CertificateError::TooLong));
    assert_eq!(parse_certificate(&[], NOW_S), Err(CertificateError::Malformed));
}

#[test]
fn small_order_keys_are_refused() {
    // With the neutral point as device key, non-strict Ed25519 accepts a signature for every message.
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let mut extension = signed_key(&device(1), &key.verifying_key());
    let mut neutral = [0; 32];
    neutral[0] = 1;
    extension[8..40].copy_from_slice(&neutral);
    extension[42..74].copy_from_slice(&neutral);
    extension[74..].fill(0);
    let der = self_signed(&key, Some(extension), &[1], (1975, 4096)).unwrap();
    assert_eq!(parse_certificate(&der, NOW_S), Err(CertificateError::DeviceSignature));
}

#[test]
fn each_flipped_bit_is_refused() {
    let der = identity().certificate.to_vec();
    for bit in 0..der.len() * 8 {
        let mut flipped = der.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(parse_certificate(&flipped, NOW_S).is_err(), "bit {bit}");
    }
}

#[test]
fn each_flipped_bit_of_a_stock_certificate_is_refused() {
    let der = hex(STOCK);
    for bit in 0..der.len() * 8 {
        let mut flipped = der.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(parse_certificate(&flipped, NOW_S).is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(
        cut in 0usize..400,
        noise in proptest::collection::vec((0usize..400, any::<u8>()), 0..8),
    ) {
        let mut der = identity().certificate.to_vec();
        for (place, byte) in noise {
            if let Some(slot) = der.get_mut(place) {
                *slot = byte;
            }
        }
        der.truncate(cut);
        let _ = parse_certificate(&der, NOW_S);
    }
}
