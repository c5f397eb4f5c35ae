//! Golden vectors: the form that each message has on the wire.

use alloc::vec;
use std::format;

use super::*;
use crate::wire::saved::SavedState;
use crate::wire::task::{Branch, EpochMessage};
use crate::{Sig, decode, encode};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn golden<M: Message + PartialEq + fmt::Debug>(message: &M, expected: &str) {
    let bytes = encode(message).unwrap();
    assert_eq!(hex(&bytes), expected, "the form of {message:?} changed");
    assert_eq!(&decode::<M>(&bytes).unwrap(), message);
    for cut in 0..bytes.len() {
        assert!(decode::<M>(&bytes[..cut]).is_err());
    }
}

fn id(n: u8) -> DeviceId {
    DeviceId([n; 32])
}

fn spec() -> TaskSpec {
    TaskSpec {
        task: TaskId([1; 16]),
        kind: "sum/1".into(),
        name: "a sum".into(),
        qos: QoS::default(),
        policy: PolicyKind::Quorum { k: 2 },
        replicas: 2,
        ops: 300,
        memory_bytes: 4096,
        cores: 1,
        needs: vec!["camera/1".parse().unwrap()],
        only: vec![],
        stay: false,
        output_bytes: 8,
        submitted: WallMs(1000),
        capabilities: vec![crate::Capability::Display],
        accelerators: vec![crate::AcceleratorNeed { kind: crate::AcceleratorKind::Npu, memory_bytes: 300 }],
        never: vec![id(8)],
        circle: Some(crate::CircleId([4; 32])),
        terms: vec![7, 8],
    }
}

fn signed() -> Signed {
    Signed { signer: id(2), body: vec![1, 2, 3], sig: Sig::from_bytes([9; 64]) }
}

fn status() -> StatusNote {
    StatusNote {
        spec: spec(),
        submitter: id(2),
        runner: Some(id(3)),
        epoch: Epoch(4),
        branch: 0,
        state: TaskState::Running,
        progress_permille: 500,
        progress_text: "half".into(),
        holders: vec![id(4)],
        checkpoint: 7,
        checkpoint_age_ms: Some(300),
        moves: vec![Move {
            from: id(2),
            to: id(3),
            reason: MoveReason::Person("go".into()),
            epoch: Epoch(4),
            downtime_ms: 12,
            bytes: 4096,
            at: WallMs(2000),
            rounds: 3,
            whole_ms: 250,
        }],
        error: None,
        result: None,
        accepted: true,
    }
}

#[test]
fn golden_vectors() {
    let grant = Grant {
        spec: spec(),
        input: Hash([5; 32]),
        secret: Hash([4; 32]),
        granted: vec![Granted { device: id(6), rights: vec![Right::See, Right::Move] }],
    };
    golden(&grant, GRANT);
    let act = Act {
        task: TaskId([1; 16]),
        epoch: Epoch(4),
        verb: Verb::Move { to: Some(id(3)), reason: "go".into() },
        issued: WallMs(1000),
    };
    golden(&act, ACT_HEX);
    let lease = Request::Lease {
        task: TaskId([1; 16]),
        ops: 300,
        memory_bytes: 4096,
        kind: "sum/1".into(),
        seen: 300,
    };
    golden(&lease, REQUEST);
    golden(&Reply::Task(Box::new(status())), REPLY);
    golden(&Request::Proof { task: TaskId([1; 16]) }, REQUEST_PROOF);
    let proof = Reply::Proof { grant: signed(), links: vec![Certificate::Root(signed())] };
    golden(&proof, REPLY_PROOF);
    golden(&Watch { task: TaskId([1; 16]), effects_from: 3 }, WATCH);
    let fence = Fence { branch: Branch::NONE, epoch: Epoch(4) };
    golden(&WatchNote::Effect { fence, sequence: 3, bytes: vec![8, 9] }, WATCH_NOTE);
    let fetch = Fetch { task: TaskId([1; 16]), manifest: Hash([5; 32]), base: None };
    golden(&fetch, FETCH);
    let offer = Offer {
        task: TaskId([1; 16]),
        manifest: signed(),
        kind: ImageKind::State(StateMeta {
            kind: "sum/1".into(),
            ops_done: 100,
            progress_permille: 500,
            effects: 2,
            state_len: 70_000,
            ended: Some(Ended::Failure),
        }),
        len: 70_008,
        chunks: 2,
        grant: signed(),
        secret: Some(TaskSecret([7; 32])),
        moves: vec![],
        handing: Some(Handing {
            reason: MoveReason::Drain,
            stopped_us: 1500,
            bytes: 4096,
            rounds: 3,
            began_us: 2500,
        }),
        pushing: true,
    };
    golden(&offer, OFFER);
    golden(&ImagePart { names: vec![Hash([5; 32])] }, IMAGE_PART);
    golden(&Want { bits: vec![0b101] }, WANT);
    golden(&Piece { index: 1, len: 300 }, PIECE);
    golden(
        &FetchContent { content: Hash([5; 32]), circle: CircleId([4; 32]) },
        &format!("400000008c040100{}{}", "05".repeat(32), "04".repeat(32)),
    );
    golden(&ContentOffer { len: 70_000 }, "030000008d040100f0a204");
    let message = encode(&EpochMessage::ask(TaskId([1; 16]))).unwrap();
    golden(&EpochNote { grant: Some(signed()), message }, EPOCH_NOTE);
}

/// One vector for each variant that [`golden_vectors`] leaves out.
#[test]
fn every_variant_has_its_vector() {
    let task = TaskId([1; 16]);
    let release = Act { task, epoch: Epoch(4), verb: Verb::Release, issued: WallMs(1000) };
    golden(&release, "1400000081040100010101010101010101010101010101010401e807");
    golden(&Request::List, "010000008204010000");
    golden(&Request::Status { task }, "11000000820401000101010101010101010101010101010101");
    golden(
        &Request::Act(signed()),
        "65000000820401000202020202020202020202020202020202020202020202020202020202020202020301020309090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909",
    );
    golden(
        &Request::Cancel(signed()),
        "65000000820401000302020202020202020202020202020202020202020202020202020202020202020301020309090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909",
    );
    golden(&Request::Unlease { task, lease: 300 }, "13000000820401000501010101010101010101010101010101ac02");
    golden(&Reply::Done, "010000008304010000");
    golden(&Reply::Tasks(vec![]), "02000000830401000100");
    golden(&Reply::Leased { for_ms: 300, lease: 7 }, "040000008304010003ac0207");
    golden(&Reply::Refused { code: 300, why: "no".into() }, "060000008304010004ac02026e6f");
    golden(
        &Reply::Elsewhere { runner: id(3) },
        "2100000083040100050303030303030303030303030303030303030303030303030303030303030303",
    );
    golden(&Reply::Moved { epoch: Epoch(4) }, "02000000830401000604");
    golden(&Reply::Outdated, "010000008304010007");
    golden(&WatchNote::Preview(vec![8, 9]), "040000008504010001020809");
    // A status is the same in every message that carries one; see `REPLY`.
    let one = encode(&Reply::Task(Box::new(status()))).unwrap();
    let many = encode(&Reply::Tasks(vec![status()])).unwrap();
    let note = encode(&WatchNote::Status(Box::new(status()))).unwrap();
    assert_eq!((&many[8..10], &many[10..]), (&[1, 1][..], &one[9..]));
    assert_eq!((&note[8..9], &note[9..]), (&[0][..], &one[9..]));
}

/// What came with pausing and saving; all that was before has kept its form.
#[test]
fn a_pause_has_its_vectors() {
    let task = TaskId([1; 16]);
    for (verb, number) in [(Verb::Pause, "02"), (Verb::Resume, "03"), (Verb::Save, "04")] {
        let act = Act { task, epoch: Epoch(4), verb, issued: WallMs(1000) };
        golden(&act, &format!("1400000081040100{}04{number}e807", "01".repeat(16)));
    }
    golden(&Reply::Rests(Rests { already: true, kept: false }), "0300000083040100090100");
    golden(&Reply::Saved { manifest: Hash([5; 32]) }, &format!("21000000830401000a{}", "05".repeat(32)));
    let pause = Pause { by: id(6), since: WallMs(1000) };
    let form = |bytes: Result<Vec<u8>, postcard::Error>| hex(&bytes.unwrap());
    let by = format!("{}e807", "06".repeat(32));
    assert_eq!(form(postcard::to_allocvec(&TaskState::PausedBy(pause))), format!("0b{by}"));
    let kind = ImageKind::Paused(meta(), pause);
    assert_eq!(form(postcard::to_allocvec(&kind)), format!("04{META}{by}"));
    assert_eq!((kind.meta(), kind.pause()), (Some(&meta()), Some(pause)));
    assert_eq!((ImageKind::State(meta()).pause(), ImageKind::Output.meta()), (None, None));
}

#[test]
fn a_saved_state_has_its_vector() {
    let saved = SavedState {
        spec: spec(),
        branch: Branch::NONE,
        epoch: Epoch(3),
        kind: ImageKind::State(meta()),
        saved: WallMs(1000),
        len: 70_000,
        root: Hash([7; 32]),
    };
    golden(&saved, SAVED_STATE);
    assert!(saved.within_limits());
    let bent = |change: fn(&mut SavedState)| {
        let mut bent = saved.clone();
        change(&mut bent);
        bent.within_limits()
    };
    assert!(!bent(|saved| saved.kind = ImageKind::Output), "no state");
    assert!(!bent(|saved| saved.len += 1), "two lengths");
    assert!(!bent(|saved| saved.spec.name = "n".repeat(limits::NAME_BYTES + 1)));
    assert!(!bent(|saved| {
        saved.len = u64::MAX;
        saved.kind = ImageKind::State(StateMeta { state_len: u64::MAX, ..meta() });
    }));
}

fn meta() -> StateMeta {
    StateMeta {
        kind: "sum/1".into(),
        ops_done: 100,
        progress_permille: 500,
        effects: 2,
        state_len: 70_000,
        ended: None,
    }
}

const META: &str = "0573756d2f3164f40302f0a20400";

#[test]
fn a_secret_is_not_shown() {
    assert_eq!(format!("{:?}", TaskSecret([7; 32])), "TaskSecret");
}

#[test]
fn an_image_is_named_by_all_of_it() {
    let image = Image { kind: ImageKind::Input, len: 70_000, chunks: vec![Hash([1; 32]), Hash([2; 32])] };
    assert!(image.is_sound());
    assert_eq!((image.chunk_len(0), image.chunk_len(1), image.chunk_len(2)), (65_536, 4464, 0));
    let mut others = vec![image.clone(); 4];
    others[0].kind = ImageKind::Output;
    others[1].len += 1;
    others[2].chunks.swap(0, 1);
    others[3].chunks.pop();
    assert!(!others[3].is_sound());
    assert!(others.iter().all(|other| other.root() != image.root()));
}

const GRANT: &str = "e600000080040100010101010101010101010101010101010573756d2f3105612073756d01010002010202ac02\
     802001010863616d6572612f31000008e80701000101ac02010808080808080808080808080808080808080808\
     080808080808080808080808010404040404040404040404040404040404040404040404040404040404040404\
     020708050505050505050505050505050505050505050505050505050505050505050504040404040404040404\
     040404040404040404040404040404040404040404040106060606060606060606060606060606060606060606\
     06060606060606060606020001";
const ACT_HEX: &str = "3800000081040100010101010101010101010101010101010400010303030303030303030303030303030303\
     03030303030303030303030303030302676fe807";
const REQUEST: &str = "1d000000820401000401010101010101010101010101010101ac0280200573756d2f31ac02";
const REPLY: &str = "440100008304010002010101010101010101010101010101010573756d2f3105612073756d01010002010202ac\
     02802001010863616d6572612f31000008e80701000101ac020108080808080808080808080808080808080808\
     080808080808080808080808080104040404040404040404040404040404040404040404040404040404040404\
     040207080202020202020202020202020202020202020202020202020202020202020202010303030303030303\
     030303030303030303030303030303030303030303030303040001f4030468616c660104040404040404040404\
     040404040404040404040404040404040404040404040701ac0201020202020202020202020202020202020202\
     020202020202020202020202020203030303030303030303030303030303030303030303030303030303030303\
     030102676f040c8020d00f03fa01000001";
const REQUEST_PROOF: &str = "11000000820401000601010101010101010101010101010101";
const REPLY_PROOF: &str = "cb000000830401000802020202020202020202020202020202020202020202020202020202020202020301\
     02030909090909090909090909090909090909090909090909090909090909090909090909090909090909\
     09090909090909090909090909090909090909090909090100020202020202020202020202020202020202\
     02020202020202020202020202020301020309090909090909090909090909090909090909090909090909\
     090909090909090909090909090909090909090909090909090909090909090909090909090909";
const WATCH: &str = "11000000840401000101010101010101010101010101010103";
const WATCH_NOTE: &str = "2700000085040100020000000000000000000000000000000000000000000000000000000000000000000403\
     020809";
const FETCH: &str = "31000000860401000101010101010101010101010101010105050505050505050505050505050505050505\
     0505050505050505050505050500";
const OFFER: &str = "180100008704010001010101010101010101010101010101020202020202020202020202020202020202020202\
    02020202020202020202020301020309090909090909090909090909090909090909090909090909090909090909090909090909090\
    909090909090909090909090909090909090909090909090909010573756d2f3164f40302f0a2040101f8a204020202020202020202\
    02020202020202020202020202020202020202020202020203010203090909090909090909090909090909090909090909090909090\
    90909090909090909090909090909090909090909090909090909090909090909090909090909010707070707070707070707070707\
    070707070707070707070707070707070707000103dc0b802003c41301";
const IMAGE_PART: &str = "2100000088040100200505050505050505050505050505050505050505050505050505050505050505";
const WANT: &str = "02000000890401000105";
const PIECE: &str = "030000008a04010001ac02";
const EPOCH_NOTE: &str = "a10000008b040100010202020202020202020202020202020202020202020202020202020202020202030102\
     0309090909090909090909090909090909090909090909090909090909090909090909090909090909090909\
     0909090909090909090909090909090909090909093b33000000000401000101010101010101010101010101\
     01010000000000000000000000000000000000000000000000000000000000000000000000";
const SAVED_STATE: &str = "d8000000c0040100010101010101010101010101010101010573756d2f3105612073756d01010002010202ac02\
     802001010863616d6572612f31000008e80701000101ac02010808080808080808080808080808080808080808\
     080808080808080808080808010404040404040404040404040404040404040404040404040404040404040404\
     02070800000000000000000000000000000000000000000000000000000000000000000003010573756d2f3164\
     f40302f0a20400e807f0a2040707070707070707070707070707070707070707070707070707070707070707";
