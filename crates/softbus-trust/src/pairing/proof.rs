//! The proof of a password over one channel: both sides learn whether the other knows it, and nobody else
//! learns anything to guess by.
//!
//! SPAKE2 gives both sides the same key if their passwords are the same. The key is confirmed twice by
//! each side: once by itself, and once over everything that makes this connection what it is (both DeviceIds, the TLS
//! exporter, both shares). A third device that hands messages through can make the first right but never the
//! second, and so is told from a mistyped PIN.
//!
//! The enterer confirms first. The opener says nothing that depends on its PIN's rightness before the driver has
//! counted the try on disk: whoever kills the opener in between has spent a try and learned nothing.

use core::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use softbus_core::DeviceId;
use softbus_core::wire::pair::{Confirm, Pair, Password, Start};
use spake2::{Ed25519Group, Identity, Spake2};
use zeroize::{Zeroize, Zeroizing};

use super::Pin;

/// The label under which TLS exports the 32 bytes of [`Binding::exporter`] (RFC 8446, section 7.5), with the
/// opener's and the enterer's id, one after the other, as context.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-softbus-pair-v1";

/// What makes a connection this one and no other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The device that shows the password, as TLS proved it.
    pub opener: DeviceId,
    /// The device on which it was entered, as TLS proved it.
    pub enterer: DeviceId,
    /// 32 bytes from TLS's exporter under [`EXPORTER_LABEL`].
    pub exporter: [u8; 32],
}

/// What both sides must know.
#[derive(Clone, PartialEq, Eq)]
pub struct PairPassword {
    /// Which one it is, in the open.
    pub which: Password,
    secret: Zeroizing<Vec<u8>>,
}

impl PairPassword {
    /// The PIN shown.
    pub fn pin(pin: &Pin) -> Self {
        let secret = Zeroizing::new([b"softbus pin ", pin.reveal().as_bytes()].concat());
        Self { which: Password::Pin, secret }
    }

    /// A link's secret. Its name in the open tells nothing of it.
    pub fn ticket(secret: &[u8; 16]) -> Self {
        let which = Password::Ticket(super::super::ticket::name_of(secret));
        Self { which, secret: Zeroizing::new([b"softbus ticket ".as_slice(), secret].concat()) }
    }
}

impl fmt::Debug for PairPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairPassword({:?})", self.which)
    }
}

/// Why a proof ended without success.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProofError {
    /// A message that was not due, or a share that is no point of the curve.
    #[error("a message of the pairing was out of place or malformed")]
    Protocol,
    /// The other side does not know the password.
    #[error("the other device does not know the password")]
    Wrong,
    /// The other side knows the password, but sees another connection.
    #[error("a third device is in the middle")]
    ThirdDevice,
}

/// The side on which the password was entered.
pub struct Enterer(EntererState);

enum EntererState {
    Started { spake: Spake2<Ed25519Group>, binding: Binding, which: Password, share: [u8; 32] },
    Confirming(Keys),
    Over,
}

impl Enterer {
    /// Begins. `seed` is random, fit for keys and used for nothing else.
    pub fn start(password: &PairPassword, binding: Binding, seed: [u8; 32]) -> (Self, Pair) {
        let (spake, message) = Spake2::<Ed25519Group>::start_a_with_rng(
            &spake2::Password::new(&*password.secret),
            &Identity::new(b"enterer"),
            &Identity::new(b"opener"),
            SeededRng::new(seed),
        );
        let share = share_of(&message);
        let start = Pair::Start(Start { password: password.which, share });
        (Self(EntererState::Started { spake, binding, which: password.which, share }), start)
    }

    /// The opener's share came: what to send now.
    pub fn on_share(&mut self, theirs: [u8; 32]) -> Result<Pair, ProofError> {
        let EntererState::Started { spake, binding, which, share } =
            core::mem::replace(&mut self.0, EntererState::Over)
        else {
            return Err(ProofError::Protocol);
        };
        let key = Zeroizing::new(spake.finish(&message_of(0x42, &theirs)).map_err(|_| ProofError::Protocol)?);
        let keys = Keys::derive(&key, &binding, which, &share, &theirs);
        let confirm = Pair::Confirm(keys.confirm(Side::Enterer));
        self.0 = EntererState::Confirming(keys);
        Ok(confirm)
    }

    /// The opener's proof came. On `Ok` both know the password on this very connection.
    pub fn on_confirm(&mut self, theirs: &Confirm) -> Result<(), ProofError> {
        let EntererState::Confirming(keys) = core::mem::replace(&mut self.0, EntererState::Over) else {
            return Err(ProofError::Protocol);
        };
        keys.check(Side::Opener, theirs)
    }
}

/// The side that shows the password.
pub struct Opener(OpenerState);

enum OpenerState {
    Waiting { binding: Binding, seed: Zeroizing<[u8; 32]> },
    Shared(Keys),
    Counting(Keys, Confirm),
    Over,
}

/// What the opener finds about the enterer's proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// It knows the password: send this.
    Right(Confirm),
    /// It does not.
    Wrong,
    /// It does, but sees another connection: a third device is in the middle.
    ThirdDevice,
}

impl Opener {
    /// Waits for an enterer. `seed` is random, fit for keys and used for nothing else.
    pub fn new(binding: Binding, seed: [u8; 32]) -> Self {
        Self(OpenerState::Waiting { binding, seed: Zeroizing::new(seed) })
    }

    /// The enterer began, with this password of ours: what to send now. (The driver looks the password up by
    /// [`Start::password`]; it refuses if there is none.)
    pub fn on_start(&mut self, start: &Start, password: &PairPassword) -> Result<Pair, ProofError> {
        let OpenerState::Waiting { binding, seed } = core::mem::replace(&mut self.0, OpenerState::Over)
        else {
            return Err(ProofError::Protocol);
        };
        if start.password != password.which {
            return Err(ProofError::Protocol);
        }
        let (spake, message) = Spake2::<Ed25519Group>::start_b_with_rng(
            &spake2::Password::new(&*password.secret),
            &Identity::new(b"enterer"),
            &Identity::new(b"opener"),
            SeededRng::new(*seed),
        );
        let share = share_of(&message);
        let key =
            Zeroizing::new(spake.finish(&message_of(0x41, &start.share)).map_err(|_| ProofError::Protocol)?);
        self.0 = OpenerState::Shared(Keys::derive(&key, &binding, password.which, &start.share, &share));
        Ok(Pair::Share(share))
    }

    /// The enterer's proof came. Nothing may be said to it before the try is counted on disk; then call
    /// [`Opener::on_counted`].
    pub fn on_confirm(&mut self, theirs: Confirm) -> Result<(), ProofError> {
        let OpenerState::Shared(keys) = core::mem::replace(&mut self.0, OpenerState::Over) else {
            return Err(ProofError::Protocol);
        };
        self.0 = OpenerState::Counting(keys, theirs);
        Ok(())
    }

    /// The try is counted on disk: whether the proof is right.
    pub fn on_counted(&mut self) -> Result<Judged, ProofError> {
        let OpenerState::Counting(keys, theirs) = core::mem::replace(&mut self.0, OpenerState::Over) else {
            return Err(ProofError::Protocol);
        };
        Ok(match keys.check(Side::Enterer, &theirs) {
            Ok(()) => Judged::Right(keys.confirm(Side::Opener)),
            Err(ProofError::ThirdDevice) => Judged::ThirdDevice,
            Err(_) => Judged::Wrong,
        })
    }
}

#[derive(Clone, Copy)]
enum Side {
    Enterer,
    Opener,
}

/// What SPAKE2's key becomes: a key for each proof of each side, and what the bound proofs cover.
struct Keys {
    password: [[u8; 32]; 2],
    bound: [[u8; 32]; 2],
    transcript: [u8; 32],
}

impl Keys {
    fn derive(spake: &[u8], binding: &Binding, which: Password, a: &[u8; 32], b: &[u8; 32]) -> Self {
        let mut transcript = Sha256::new();
        transcript.update(b"softbus pair transcript v1");
        match which {
            Password::Pin => transcript.update([0]),
            Password::Ticket(name) => {
                transcript.update([1]);
                transcript.update(name);
            }
        }
        // All parts have a fixed length.
        for part in [&binding.opener.0, &binding.enterer.0, &binding.exporter, a, b] {
            transcript.update(part);
        }
        let hkdf = Hkdf::<Sha256>::new(Some(b"softbus pair v1"), spake);
        let expand = |info: &[u8]| {
            let mut key = [0; 32];
            // 32 bytes are less than the 255 hashes that HKDF can give.
            let _ = hkdf.expand(info, &mut key);
            key
        };
        Self {
            password: [expand(b"enterer knows the password"), expand(b"opener knows the password")],
            bound: [expand(b"enterer on this connection"), expand(b"opener on this connection")],
            transcript: transcript.finalize().into(),
        }
    }

    fn confirm(&self, side: Side) -> Confirm {
        Confirm {
            password: mac(&self.password[side as usize], b"softbus pair password")
                .finalize()
                .into_bytes()
                .into(),
            bound: mac(&self.bound[side as usize], &self.transcript).finalize().into_bytes().into(),
        }
    }

    fn check(&self, side: Side, theirs: &Confirm) -> Result<(), ProofError> {
        let password = mac(&self.password[side as usize], b"softbus pair password");
        password.verify_slice(&theirs.password).map_err(|_| ProofError::Wrong)?;
        let bound = mac(&self.bound[side as usize], &self.transcript);
        bound.verify_slice(&theirs.bound).map_err(|_| ProofError::ThirdDevice)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.password.zeroize();
        self.bound.zeroize();
    }
}

fn mac(key: &[u8; 32], message: &[u8]) -> Hmac<Sha256> {
    use hmac::digest::KeyInit;
    // `Hmac` also implements the trait's fallible constructor; a 32-byte key has the length of its own type's key.
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block);
    mac.update(message);
    mac
}

/// SPAKE2's message without the letter of its side.
fn share_of(message: &[u8]) -> [u8; 32] {
    let mut share = [0; 32];
    if let Some(point) = message.get(1..33) {
        share.copy_from_slice(point);
    }
    share
}

fn message_of(side: u8, share: &[u8; 32]) -> [u8; 33] {
    let mut message = [side; 33];
    message[1..].copy_from_slice(share);
    message
}

/// A stream of random bytes from a seed, for SPAKE2's one scalar.
struct SeededRng(blake3::OutputReader);

impl SeededRng {
    fn new(seed: [u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("softbus pair scalar v1");
        hasher.update(&seed);
        Self(hasher.finalize_xof())
    }
}

impl rand_core::RngCore for SeededRng {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::CryptoRng for SeededRng {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binding(exporter: u8) -> Binding {
        Binding { opener: DeviceId([1; 32]), enterer: DeviceId([2; 32]), exporter: [exporter; 32] }
    }

    fn pin(text: &str) -> PairPassword {
        PairPassword::pin(&Pin::parse(text).unwrap())
    }

    fn start(pair: &Pair) -> Start {
        let Pair::Start(start) = pair else { panic!("{pair:?}") };
        start.clone()
    }

    fn share(pair: &Pair) -> [u8; 32] {
        let Pair::Share(share) = pair else { panic!("{pair:?}") };
        *share
    }

    fn confirm(pair: &Pair) -> Confirm {
        let Pair::Confirm(confirm) = pair else { panic!("{pair:?}") };
        *confirm
    }

    /// Runs both sides; what each of them found.
    fn run(
        a: (&PairPassword, Binding),
        b: (&PairPassword, Binding),
    ) -> (Judged, Option<Result<(), ProofError>>) {
        let (mut enterer, first) = Enterer::start(a.0, a.1, [3; 32]);
        let mut opener = Opener::new(b.1, [4; 32]);
        let answer = opener.on_start(&start(&first), b.0).unwrap();
        let proof = enterer.on_share(share(&answer)).unwrap();
        opener.on_confirm(confirm(&proof)).unwrap();
        let judged = opener.on_counted().unwrap();
        let found = match &judged {
            Judged::Right(confirm) => Some(enterer.on_confirm(confirm)),
            _ => None,
        };
        (judged, found)
    }

    #[test]
    fn the_right_pin_on_one_connection() {
        let (judged, found) = run((&pin("123456"), binding(9)), (&pin("123 456"), binding(9)));
        assert!(matches!(judged, Judged::Right(_)));
        assert_eq!(found, Some(Ok(())));
    }

    #[test]
    fn a_wrong_pin() {
        assert_eq!(run((&pin("123457"), binding(9)), (&pin("123456"), binding(9))).0, Judged::Wrong);
    }

    #[test]
    fn a_third_device_that_hands_everything_through() {
        let right = pin("123456");
        assert_eq!(run((&right, binding(8)), (&right, binding(9))).0, Judged::ThirdDevice, "other TLS keys");
        let mut other = binding(9);
        other.enterer = DeviceId([7; 32]);
        assert_eq!(run((&right, binding(9)), (&right, other)).0, Judged::ThirdDevice, "other ids");
        let mut other = binding(9);
        other.opener = DeviceId([7; 32]);
        assert_eq!(run((&right, other), (&right, binding(9))).0, Judged::ThirdDevice, "other ids");
    }

    #[test]
    fn the_opener_must_prove_too() {
        let (mut enterer, first) = Enterer::start(&pin("123456"), binding(9), [3; 32]);
        let mut false_opener = Opener::new(binding(9), [4; 32]);
        let answer = false_opener.on_start(&start(&first), &pin("000000")).unwrap();
        let proof = confirm(&enterer.on_share(share(&answer)).unwrap());
        // It can but send the enterer's own proof back, or something made up.
        assert_eq!(enterer.on_confirm(&proof), Err(ProofError::Wrong));
        assert_eq!(enterer.on_confirm(&proof), Err(ProofError::Protocol), "no second try on one channel");
    }

    #[test]
    fn nothing_is_said_before_the_try_is_counted() {
        let (mut enterer, first) = Enterer::start(&pin("123456"), binding(9), [3; 32]);
        let mut opener = Opener::new(binding(9), [4; 32]);
        assert_eq!(opener.on_counted(), Err(ProofError::Protocol));
        let mut opener = Opener::new(binding(9), [4; 32]);
        let answer = opener.on_start(&start(&first), &pin("123456")).unwrap();
        let again = opener.on_start(&start(&first), &pin("123456"));
        assert_eq!(again.err(), Some(ProofError::Protocol));
        let proof = enterer.on_share(share(&answer)).unwrap();
        assert_eq!(opener.on_confirm(confirm(&proof)), Err(ProofError::Protocol), "over after a breach");

        // The machine says what to send as what it returns. For a confirmation, right or wrong, that is nothing, not even a
        // verdict, until the try is counted; and then it is one verdict. (That the driver counts it on disk first is told
        // by the keeper's tests, which cut the power right before it speaks.)
        for (typed, is_right) in [("123456", true), ("654321", false)] {
            let (mut enterer, first) = Enterer::start(&pin(typed), binding(9), [3; 32]);
            let mut opener = Opener::new(binding(9), [4; 32]);
            let answer = opener.on_start(&start(&first), &pin("123456")).unwrap();
            assert!(matches!(answer, Pair::Share(_)), "a share does not depend on what was typed");
            let proof = enterer.on_share(share(&answer)).unwrap();
            let outgoing: Result<(), ProofError> = opener.on_confirm(confirm(&proof));
            assert_eq!(outgoing, Ok(()), "the same for both");
            let judged = opener.on_counted().unwrap();
            assert_eq!(matches!(judged, Judged::Right(_)), is_right);
            assert_eq!(opener.on_counted(), Err(ProofError::Protocol), "one verdict");
        }
        // Counted before there is anything to count: it is over, and says nothing.
        let (_, first) = Enterer::start(&pin("123456"), binding(9), [3; 32]);
        let mut opener = Opener::new(binding(9), [4; 32]);
        opener.on_start(&start(&first), &pin("123456")).unwrap();
        assert_eq!(opener.on_counted(), Err(ProofError::Protocol));
    }

    #[test]
    fn a_pin_is_no_ticket() {
        let ticket = PairPassword::ticket(&[5; 16]);
        let (_, first) = Enterer::start(&ticket, binding(9), [3; 32]);
        let mut opener = Opener::new(binding(9), [4; 32]);
        assert_eq!(opener.on_start(&start(&first), &pin("123456")).err(), Some(ProofError::Protocol));
        let (judged, found) = run((&ticket, binding(9)), (&ticket, binding(9)));
        assert!(matches!(judged, Judged::Right(_)) && found == Some(Ok(())));
        assert!(!format!("{ticket:?}").contains("0505"));
    }

    #[test]
    fn golden_exchange() {
        // Fixed seeds give fixed bytes: a change of the proof's form cannot pass unseen.
        let (mut enterer, first) = Enterer::start(&pin("123456"), binding(9), [3; 32]);
        let mut opener = Opener::new(binding(9), [4; 32]);
        let answer = opener.on_start(&start(&first), &pin("123456")).unwrap();
        let proof = enterer.on_share(share(&answer)).unwrap();
        let hex = |pair: &Pair| data_encoding::HEXLOWER.encode(&softbus_core::encode(pair).unwrap()[8..]);
        assert_eq!(hex(&first), "0000d24a7d7d667dbd65eb609d195eecc684487662b4972a34ee8f61546bb1482e29");
        assert_eq!(hex(&answer), "017f461e73587b426f944a2c45f9e132ea9627a0d6ffab0ff90540cf96892659ca");
        assert_eq!(
            hex(&proof),
            "027148eb47f4c6ab0dc6faadfe97aec770afa120e6a5b37490c77fd886e44d9cf2691f7b28a1fddd05a427fce00c4cc51e567b67b2340732d9973f9b26b1e3d054"
        );
    }

    proptest! {
        #[test]
        fn hostile_shares_and_proofs(share_a in any::<[u8; 32]>(), a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
            let mut opener = Opener::new(binding(9), [4; 32]);
            let start = Start { password: Password::Pin, share: share_a };
            if opener.on_start(&start, &pin("123456")).is_ok() {
                opener.on_confirm(Confirm { password: a, bound: b }).unwrap();
                prop_assert_eq!(opener.on_counted(), Ok(Judged::Wrong));
            }
            let (mut enterer, _) = Enterer::start(&pin("123456"), binding(9), [3; 32]);
            if enterer.on_share(share_a).is_ok() {
                prop_assert_eq!(enterer.on_confirm(&Confirm { password: a, bound: b }), Err(ProofError::Wrong));
            }
        }
    }
}
