//! Golden vectors: the exact bytes of every message about epochs. A change here is a change of the protocol.

use std::string::{String, ToString};
use std::vec;

use super::*;
use crate::{Sig, decode, encode};

const TASK: TaskId = TaskId([0x11; 16]);
const BRANCH: Branch = Branch { fork: 1, root: Hash([0x22; 32]) };
const CHECKPOINT: CheckpointRef =
    CheckpointRef { epoch: Epoch(3), sequence: 300, manifest: Hash([0x33; 32]) };
const BALLOT: Ballot = Ballot { round: 2, proposer: DeviceId([0x44; 32]) };

fn signed(body: &[u8]) -> Signed {
    Signed { signer: DeviceId([0x55; 32]), body: body.to_vec(), sig: Sig::from_bytes([0x66; 64]) }
}

/// Runs of one byte are written `<byte>*<count>`, so that a vector can be read.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|byte| *byte == first).count();
        if run >= 8 {
            text.push_str(&std::format!("<{first:02x}*{run}>"));
        } else {
            (0..run).for_each(|_| text.push_str(&std::format!("{first:02x}")));
        }
        rest = &rest[run..];
    }
    text
}

fn check<M: Message + PartialEq + core::fmt::Debug>(message: &M, expected: &str) {
    let bytes = encode(message).unwrap();
    assert_eq!(hex(&bytes), expected, "{message:?}");
    assert_eq!(&decode::<M>(&bytes).unwrap(), message);
    for cut in 0..bytes.len() {
        assert!(decode::<M>(&bytes[..cut]).is_err());
    }
}

fn manifest() -> Manifest {
    Manifest {
        task: TASK,
        branch: BRANCH,
        epoch: Epoch(3),
        sequence: 300,
        kind: ManifestKind::Result,
        task_type: "walk".to_string(),
        state_version: 2,
        source: DeviceId([0x44; 32]),
        destination: Some(DeviceId([0x55; 32])),
        policy: Policy::Quorum { lease_ms: 1500 },
        acceptors: vec![DeviceId([0x44; 32]), DeviceId([0x55; 32])],
        root: Hash([0x77; 32]),
        chunks: 2,
        bytes: 100_000,
        effects: 7,
        progress_permille: 500,
        grant: Hash([0x88; 32]),
    }
}

fn decree() -> Decree {
    Decree {
        task: TASK,
        branch: BRANCH,
        epoch: Epoch(4),
        previous: Hash([0x99; 32]),
        submitter: DeviceId([0x44; 32]),
        grant: Hash([0x88; 32]),
        task_type: "walk".to_string(),
        policy: Policy::Owner,
        replicas: 2,
        owner: DeviceId([0x44; 32]),
        holders: vec![DeviceId([0x55; 32])],
        base: CHECKPOINT,
        outcome: Outcome::Quarantined { error: "e".to_string() },
        why: Why::Adopted { from: Fence { branch: BRANCH, epoch: Epoch(2) } },
        note: "n".to_string(),
    }
}

#[test]
fn statements() {
    check(
        &manifest(),
        "0701000001040100<11*16>01<22*32>03ac02010477616c6b02<44*32>01<55*32>01dc0b02<44*32><55*32><77*32>02a08d0607f403<88*32>",
    );
    check(
        &decree(),
        "2501000002040100<11*16>01<22*32>04<99*32><44*32><88*32>0477616c6b0002<44*32>01<55*32>03ac02<33*32>0201650101<22*32>02016e",
    );
    let vote = Vote { task: TASK, branch: BRANCH, epoch: Epoch(4), ballot: BALLOT, decree: Hash([0x99; 32]) };
    check(&vote, "7300000003040100<11*16>01<22*32>0402<44*32><99*32>");
    check(
        &CancelOrder { task: TASK, issued: WallMs(1_700_000_000_000), note: "n".to_string() },
        "1800000004040100<11*16>80d095ffbc31016e",
    );
}

#[test]
fn messages() {
    let manifest = Hash([0x33; 32]);
    let root = Certificate::Root(signed(b"r"));
    let voted = Certificate::Voted { decree: b"d".to_vec(), votes: vec![signed(b"v")] };
    let accepted = Some(Accepted { ballot: BALLOT, decree: b"d".to_vec() });
    let bodies = [
        EpochBody::AskChain,
        EpochBody::Chain { links: vec![root, voted] },
        EpochBody::Ack { held: Some(CHECKPOINT) },
        EpochBody::Offer { manifest: signed(b"m") },
        EpochBody::Stored { checkpoint: CHECKPOINT },
        EpochBody::Prepare { manifest: signed(b"m"), last: true },
        EpochBody::Fetching { manifest },
        EpochBody::Warm { manifest },
        EpochBody::Ready { manifest },
        EpochBody::Refuse { manifest, code: ErrorCode::Storage },
        EpochBody::Abort { manifest },
        EpochBody::AskOutcome { manifest },
        EpochBody::Lease { sent: BootMs(1000), nonce: 5 },
        EpochBody::Grant { sent: BootMs(1000), nonce: 5 },
        EpochBody::Deny { promised: Some(BALLOT) },
        EpochBody::Query { ballot: BALLOT },
        EpochBody::Promise { ballot: BALLOT, accepted, held: None },
        EpochBody::Nack { ballot: BALLOT, promised: None, wait_ms: 1500 },
        EpochBody::Propose { ballot: BALLOT, decree: b"d".to_vec() },
        EpochBody::Voted { vote: signed(b"v") },
        EpochBody::Hold { checkpoint: CHECKPOINT, from: vec![DeviceId([0x44; 32])] },
        EpochBody::Holding { checkpoint: CHECKPOINT },
        EpochBody::Cancel { order: signed(b"c") },
        EpochBody::Cancelled,
        EpochBody::Leave,
    ];
    let expected = [
        "3400000000040100<11*16>01<22*32>ac0200",
        "fe00000000040100<11*16>01<22*32>ac02010200<55*32>0172<66*64>01016401<55*32>0176<66*64>",
        "5800000000040100<11*16>01<22*32>ac02020103ac02<33*32>",
        "9600000000040100<11*16>01<22*32>ac0203<55*32>016d<66*64>",
        "5700000000040100<11*16>01<22*32>ac020403ac02<33*32>",
        "9700000000040100<11*16>01<22*32>ac0205<55*32>016d<66*64>01",
        "5400000000040100<11*16>01<22*32>ac0206<33*32>",
        "5400000000040100<11*16>01<22*32>ac0207<33*32>",
        "5400000000040100<11*16>01<22*32>ac0208<33*32>",
        "5500000000040100<11*16>01<22*32>ac0209<33*32>0f",
        "5400000000040100<11*16>01<22*32>ac020a<33*32>",
        "5400000000040100<11*16>01<22*32>ac020b<33*32>",
        "3700000000040100<11*16>01<22*32>ac020ce80705",
        "3700000000040100<11*16>01<22*32>ac020de80705",
        "5600000000040100<11*16>01<22*32>ac020e0102<44*32>",
        "5500000000040100<11*16>01<22*32>ac020f02<44*32>",
        "7a00000000040100<11*16>01<22*32>ac021002<44*32>0102<44*32>016400",
        "5800000000040100<11*16>01<22*32>ac021102<44*32>00dc0b",
        "5700000000040100<11*16>01<22*32>ac021202<44*32>0164",
        "9600000000040100<11*16>01<22*32>ac0213<55*32>0176<66*64>",
        "7800000000040100<11*16>01<22*32>ac021403ac02<33*32>01<44*32>",
        "5700000000040100<11*16>01<22*32>ac021503ac02<33*32>",
        "9600000000040100<11*16>01<22*32>ac0216<55*32>0163<66*64>",
        "3400000000040100<11*16>01<22*32>ac0217",
        "3400000000040100<11*16>01<22*32>ac0218",
    ];
    assert_eq!(bodies.len(), expected.len());
    for (body, expected) in bodies.into_iter().zip(expected) {
        check(&EpochMessage { task: TASK, branch: BRANCH, epoch: Epoch(300), body }, expected);
    }
}

#[test]
fn a_decree_knows_its_acceptors_and_limits() {
    let mut decree = decree();
    assert_eq!(decree.acceptors(), [decree.owner]);
    assert!(decree.within_limits());
    decree.policy = Policy::Quorum { lease_ms: 1500 };
    assert!(!decree.within_limits(), "a quorum needs two holders");
    decree.holders.push(DeviceId([0x01; 32]));
    assert!(decree.within_limits());
    assert_eq!(decree.acceptors(), [DeviceId([0x01; 32]), DeviceId([0x44; 32]), DeviceId([0x55; 32])]);
    decree.holders.push(decree.owner);
    assert!(!decree.within_limits(), "nobody counts twice");
}
