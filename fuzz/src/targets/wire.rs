//! Every message on the wire: what is read survives being written and read again.

use std::fmt::Debug;

use softbus_core::wire::ask::Ask;
use softbus_core::wire::link::{
    BootNonce, Hello, HelloAck, Open, Reply as LinkReply, Sleep, Want as LinkWant,
};
use softbus_core::wire::pair::{Confirm, Offer as PairOffer, Pair, Password, Refusal, Start, Welcome};
use softbus_core::wire::roster::{Claim, Digest, Gossip, Now, Present, Seen};
use softbus_core::wire::task::{
    Accepted, Ballot, Branch, CancelOrder, Certificate, CheckpointRef, Decree, EpochBody, EpochMessage,
    Fence, Manifest, ManifestKind, Outcome, Policy, Vote, Why,
};
use softbus_core::wire::task_control::{
    Act, ContentOffer, Ended, EpochNote, Fetch, FetchContent, Grant, Granted, Handing, ImageKind, ImagePart,
    Move, MoveReason, Offer, Pause, Piece, PolicyKind, Reply, Request, Rests, Right, StateMeta, StatusNote,
    TaskSecret, TaskSpec, TaskState, Verb, Want, Watch, WatchNote,
};
use softbus_core::{
    Accelerator, AcceleratorKind, AcceleratorNeed, BootMs, Capability, CircleId, DeviceKind, DynamicProfile,
    Epoch, ErrorCode, LinkId, Message, PowerSource, Promised, QoS, ServiceOffer, Sig, Signed, StaticProfile,
    Thermal, WallMs, decode, encode, wire::circle::Exchange,
};

use super::{NOW, TASK, hash, id, signed, with_nasty};
use crate::Target;

/// Reads a message; it must come back as it was.
fn read<M: Message + PartialEq + Debug>(bytes: &[u8]) -> Option<M> {
    let message = decode::<M>(bytes).ok()?;
    assert!(bytes.len() <= softbus_core::HEADER_LEN + M::MAX_BYTES, "read beyond its bound");
    // Canonical bytes are never longer than foreign ones, so that writing cannot fail for length.
    let again = encode(&message);
    assert_eq!(again.map(|b| decode::<M>(&b)), Ok(Ok(message)), "a message changed on its way");
    decode(bytes).ok()
}

macro_rules! messages {
    ($($constant:ident: $message:ty, $name:literal, $check:expr, $seeds:expr;)*) => {$(
        pub const $constant: Target = Target {
            name: $name,
            run: |bytes| {
                let Some(message) = read::<$message>(bytes) else { return false };
                let check: fn($message) -> bool = $check;
                check(message)
            },
            cost: 1,
            seeds: || with_nasty($seeds.iter().flat_map(encode).collect()),
        };
    )*};
}

messages! {
    ASK: Ask, "ask", |ask| ask.is_sound() || ask.body.len() <= Ask::MAX_BYTES, asks();
    HELLO: Hello, "hello", |_| true, [
        Hello { versions: (1, 1), boot: BootNonce([3; 16]), generation: 1, sleep_interval_ms: 0, features: 0 },
        Hello {
            versions: (u16::MAX, 0),
            boot: BootNonce([3; 16]),
            generation: u64::MAX,
            sleep_interval_ms: u32::MAX,
            features: u64::MAX,
        },
    ];
    HELLO_ACK: HelloAck, "hello-ack", |_| true, [HelloAck { version: 1, link: LinkId([4; 16]) }];
    SLEEP: Sleep, "sleep", |_| true, [Sleep { interval_ms: 60_000 }, Sleep { interval_ms: u32::MAX }];
    OPEN: Open, "open", |open| open.within_limits(), [
        Open { services: names(&["task/2", "task/1"]), want: LinkWant::Stream },
        Open { services: names(&["circle/1"]), want: link_request(7, 6, 64) },
        Open { services: Vec::new(), want: link_request(u64::MAX, u64::MAX, u32::MAX) },
        Open { services: names(&["a/1"; 40]), want: LinkWant::Stream },
    ];
    LINK_REPLY: LinkReply, "link-reply", |_| true, [
        LinkReply::Opened { choice: 255 },
        LinkReply::Answer { choice: 0, len: u32::MAX },
        LinkReply::Refused(ErrorCode::Forbidden.number()),
        LinkReply::Failed(u32::MAX),
    ];
    PAIR: Pair, "pair", |_| true, [
        Pair::Start(Start { password: Password::Ticket([7; 8]), share: [1; 32] }),
        Pair::Start(Start { password: Password::Pin, share: [1; 32] }),
        Pair::Share([2; 32]),
        Pair::Confirm(Confirm { password: [3; 32], bound: [4; 32] }),
        Pair::Offer(PairOffer {
            admits: Some(CircleId([5; 32])),
            member_of: vec![CircleId([5; 32]); 8],
            join: true,
            shared: vec![CircleId([6; 32]); 8],
        }),
        Pair::Joined,
        Pair::Refusal(Refusal::Frozen { seconds: u32::MAX }),
        Pair::Refusal(Refusal::WrongPassword { tries_left: 2 }),
    ];
    WELCOME: Welcome, "welcome", |_| true, [
        Welcome::Part {
            circle: CircleId([5; 32]),
            statements: vec![signed(b"a statement"); 2],
            more: true,
            secret: Some(signed(b"a secret")),
        },
        Welcome::Refusal(Refusal::Limit),
    ];
    EXCHANGE: Exchange, "exchange", exchange, [
        Exchange {
            circle: CircleId([5; 32]),
            have: vec![hash(1), hash(2)],
            count: 300,
            statements: vec![signed(b"a statement")],
            more: true,
            secret_known: Some(hash(3)),
            secret: Some(signed(b"a secret")),
            after: Some(hash(4)),
        },
        Exchange {
            circle: CircleId([5; 32]),
            have: vec![hash(1); 70],
            count: u32::MAX,
            statements: Vec::new(),
            more: false,
            secret_known: None,
            secret: None,
            after: None,
        },
    ];
    STATIC_PROFILE: StaticProfile, "static-profile", |profile| profile.within_limits(), [
        static_profile(NOW),
        StaticProfile { name: "n".repeat(65), battery_floor_permille: u16::MAX, ..static_profile(NOW) },
    ];
    MANIFEST: Manifest, "manifest", |_| true, manifests();
    DECREE: Decree, "decree", |decree| {
        let all = decree.members();
        assert!(decree.acceptors().iter().all(|acceptor| all.contains(acceptor)));
        decree.within_limits()
    }, decrees();
    VOTE: Vote, "vote", |_| true, [vote()];
    CANCEL_ORDER: CancelOrder, "cancel-order", |_| true, [cancel_order()];
    EPOCH_MESSAGE: EpochMessage, "epoch-message", |message| {
        assert!(!message.name().is_empty());
        let _ = softbus_task::epoch::authority(&message);
        message.within_limits()
    }, epoch_messages();
    GRANT: Grant, "grant", |grant| grant.spec.within_limits(), [grant()];
    ACT: Act, "act", |_| true, acts();
    TASK_REQUEST: Request, "task-request", |_| true, [
        Request::List,
        Request::Status { task: TASK },
        Request::Act(signed(b"an act")),
        Request::Cancel(signed(b"an order")),
        Request::Lease { task: TASK, ops: u64::MAX, memory_bytes: u64::MAX, kind: "picture/1".into(), seen: u64::MAX },
        Request::Unlease { task: TASK, lease: u64::MAX },
        Request::Proof { task: TASK },
    ];
    TASK_REPLY: Reply, "task-reply", |_| true, [
        Reply::Tasks(vec![status(); 2]),
        Reply::Task(Box::new(status())),
        Reply::Done,
        Reply::Leased { for_ms: u64::MAX, lease: u64::MAX },
        Reply::Outdated,
        Reply::Rests(Rests { already: true, kept: false }),
        Reply::Saved { manifest: hash(1) },
        Reply::Refused { code: u32::MAX, why: "no".into() },
        Reply::Elsewhere { runner: id(2) },
        Reply::Proof {
            grant: signed(b"a grant"),
            links: vec![
                Certificate::Root(signed(b"a root")),
                Certificate::Voted { decree: vec![1; 40], votes: vec![signed(b"a vote"); 2] },
            ],
        },
    ];
    WATCH: Watch, "watch", |_| true, [Watch { task: TASK, effects_from: u64::MAX }];
    WATCH_NOTE: WatchNote, "watch-note", |note| match note {
        WatchNote::Status(note) => {
            let _ = note.within_limits();
            let again = softbus_task::TaskStatus::from_note(*note).to_note();
            again.progress_permille <= 1000
        }
        _ => true,
    }, [
        WatchNote::Status(Box::new(status())),
        WatchNote::Status(Box::new(StatusNote { progress_permille: u16::MAX, checkpoint_age_ms: Some(u64::MAX), ..status() })),
        WatchNote::Preview(vec![1, 2, 3]),
        WatchNote::Effect { fence: fence(2), sequence: u64::MAX, bytes: vec![4; 9] },
    ];
    FETCH: Fetch, "fetch", |_| true, [
        Fetch { task: TASK, manifest: hash(1), base: Some(hash(2)) },
        Fetch { task: TASK, manifest: hash(3), base: None },
    ];
    FETCH_CONTENT: FetchContent, "fetch-content", |_| true, [
        FetchContent { content: hash(1), circle: CircleId([2; 32]) },
    ];
    CONTENT_OFFER: ContentOffer, "content-offer", |_| true, [ContentOffer { len: u64::MAX }];
    OFFER: Offer, "offer", |_| true, [
        Offer {
            task: TASK,
            manifest: signed(b"a manifest"),
            kind: ImageKind::Paused(state_meta(), Pause { by: id(2), since: NOW }),
            len: u64::MAX,
            chunks: u32::MAX,
            grant: signed(b"a grant"),
            secret: Some(TaskSecret([8; 32])),
            moves: vec![moved(); 2],
            handing: Some(Handing {
                reason: MoveReason::Drain,
                stopped_us: u64::MAX,
                bytes: u64::MAX,
                rounds: u32::MAX,
                began_us: u64::MAX,
            }),
            pushing: true,
        },
    ];
    IMAGE_PART: ImagePart, "image-part", |_| true, [ImagePart { names: vec![hash(1), hash(2)] }];
    WANT: Want, "want", |want| {
        use softbus_core::wire::task_control::Image;
        let image = Image { kind: ImageKind::Input, len: 0, chunks: Vec::new() };
        softbus_task::harness::image(image, &want.bits)
    }, [Want { bits: vec![0xff; 9] }];
    PIECE: Piece, "piece", |_| true, [Piece { index: 0, len: 0 }, Piece { index: u32::MAX, len: u32::MAX }];
    EPOCH_NOTE: EpochNote, "epoch-note", |note| decode::<EpochMessage>(&note.message).is_ok(), [
        EpochNote {
            grant: Some(signed(b"a grant")),
            message: encode(&EpochMessage::ask(TASK)).unwrap_or_default(),
        },
    ];
}

pub const GOSSIP: Target =
    Target { name: "gossip", run: softbus_roster::harness::gossip, cost: 1, seeds: gossips };

fn exchange(message: Exchange) -> bool {
    let bytes = encode(&message).unwrap_or_default();
    softbus_net::membership::read_exchange(&bytes).is_ok()
}

fn names(names: &[&str]) -> Vec<softbus_core::ServiceName> {
    names.iter().flat_map(|name| name.parse()).collect()
}

fn link_request(id: u64, done_below: u64, len: u32) -> LinkWant {
    LinkWant::Request { link: LinkId([1; 16]), id, done_below, len }
}

/// A profile of device 1.
pub(super) fn static_profile(issued: WallMs) -> StaticProfile {
    StaticProfile {
        id: id(1),
        version: 300,
        issued,
        expires: WallMs(issued.0 + 86_400_000),
        name: "kitchen".into(),
        kind: DeviceKind::Tv,
        cores: 4,
        memory_bytes: 1 << 30,
        arch: "aarch64".into(),
        os: "linux".into(),
        accelerators: vec![Accelerator {
            kind: AcceleratorKind::Npu,
            name: "n1".into(),
            memory_bytes: u64::MAX,
        }],
        capabilities: vec![Capability::Display, Capability::Named("lamp".into())],
        services: names(&["task/1"]).into_iter().map(|service| ServiceOffer { service }).collect(),
        task_types: vec!["photo/1".into()],
        battery_floor_permille: 200,
        declared: vec!["kind".into()],
    }
}

/// How `id` is, in its words; its signature is none.
fn now(id: softbus_core::DeviceId, age_ms: u64, boot: u64, profile: &DynamicProfile) -> Now {
    let present = Present { boot, expires: WallMs(u64::MAX), profile: profile.clone() };
    let body = encode(&present).unwrap_or_default();
    Now { age_ms, signed: Signed { signer: id, body, sig: Sig::from_bytes([0; 64]) } }
}

/// What a neighbour (device `[2; 32]` of the roster's harness) may tell device `[1; 32]`.
pub(super) fn gossips() -> Vec<Vec<u8>> {
    let (me, peer) = (softbus_core::DeviceId([1; 32]), softbus_core::DeviceId([2; 32]));
    let dynamic = DynamicProfile {
        sequence: 3,
        sampled: WallMs(u64::MAX),
        rate_ops_per_s: u64::MAX,
        load_permille: u16::MAX,
        memory_free_bytes: u64::MAX,
        battery_permille: Some(u16::MAX),
        power: PowerSource::Battery,
        thermal: Thermal::Critical,
        running_tasks: u16::MAX,
        queued_ops: u64::MAX,
        promised: Promised {
            jobs: u16::MAX,
            ops: u64::MAX,
            memory_bytes: u64::MAX,
            full: true,
            last: u64::MAX,
        },
    };
    let full = Gossip {
        boot: 7,
        summary: Some(hash(9)),
        digests: vec![
            Digest { id: peer, version: 300, hash: hash(2) },
            Digest { id: me, version: u64::MAX, hash: hash(2) },
        ],
        want: vec![me, peer],
        profiles: vec![signed(b"no profile")],
        ask: vec![me, id(5)],
        now: vec![
            now(peer, 40, 7, &dynamic),
            now(peer, u64::MAX, u64::MAX, &dynamic),
            now(id(6), 0, 1, &dynamic),
        ],
        all_claims: true,
        claims: vec![
            Claim { id: peer, seen: Seen::Online, hops: 255, rtt_us: u32::MAX },
            Claim { id: id(6), seen: Seen::Asleep, hops: 1, rtt_us: 900 },
        ],
    };
    with_nasty([full, Gossip::default()].iter().flat_map(encode).collect())
}

fn fence(epoch: u64) -> Fence {
    Fence { branch: Branch { fork: 0, root: hash(1) }, epoch: Epoch(epoch) }
}

fn checkpoint() -> CheckpointRef {
    CheckpointRef { epoch: Epoch(1), sequence: 4, manifest: hash(4) }
}

fn ballot(round: u64) -> Ballot {
    Ballot { round, proposer: id(2) }
}

pub(super) fn manifests() -> Vec<Manifest> {
    let good = Manifest {
        task: TASK,
        branch: Branch::NONE,
        epoch: Epoch(1),
        sequence: 4,
        kind: ManifestKind::Checkpoint,
        task_type: "picture/1".into(),
        state_version: 1,
        source: id(1),
        destination: Some(id(2)),
        policy: Policy::Quorum { lease_ms: 2000 },
        acceptors: vec![id(1), id(2), id(3)],
        root: hash(5),
        chunks: 2,
        bytes: 70_000,
        effects: 3,
        progress_permille: 500,
        grant: hash(6),
    };
    let huge = Manifest { chunks: u32::MAX, bytes: u64::MAX, effects: u64::MAX, ..good.clone() };
    let many = Manifest { acceptors: vec![id(1); 30], kind: ManifestKind::Result, ..good.clone() };
    vec![good, huge, many]
}

pub(super) fn decrees() -> Vec<Decree> {
    let good = Decree {
        task: TASK,
        branch: Branch::NONE,
        epoch: Epoch(1),
        previous: hash(0),
        submitter: id(1),
        grant: hash(6),
        task_type: "picture/1".into(),
        policy: Policy::Quorum { lease_ms: 2000 },
        replicas: 2,
        owner: id(1),
        holders: vec![id(2), id(3)],
        base: checkpoint(),
        outcome: Outcome::Run,
        why: Why::Submitted,
        note: "the fastest".into(),
    };
    let last = Decree { epoch: Epoch(u64::MAX - 1), ..good.clone() };
    let beyond = Decree { epoch: Epoch(u64::MAX), ..good.clone() };
    let adopted = Decree {
        branch: Branch { fork: u32::MAX, root: hash(0) },
        epoch: Epoch(u64::MAX - 1),
        why: Why::Adopted { from: fence(u64::MAX - 2) },
        policy: Policy::Owner,
        ..good.clone()
    };
    let crowd = Decree { holders: vec![id(2); 60], ..good.clone() };
    let dead = Decree {
        outcome: Outcome::Quarantined { error: "e".repeat(300) },
        why: Why::Quarantined,
        ..good.clone()
    };
    vec![good, adopted, last, beyond, crowd, dead]
}

pub(super) fn vote() -> Vote {
    Vote { task: TASK, branch: Branch::NONE, epoch: Epoch(2), ballot: ballot(u64::MAX), decree: hash(3) }
}

pub(super) fn cancel_order() -> CancelOrder {
    CancelOrder { task: TASK, issued: NOW, note: "enough".into() }
}

fn epoch_messages() -> Vec<EpochMessage> {
    let branch = Branch { fork: 1, root: hash(1) };
    let of = |body| EpochMessage { task: TASK, branch, epoch: Epoch(u64::MAX), body };
    epoch_bodies().into_iter().map(of).collect()
}

/// One of each kind.
pub(super) fn epoch_bodies() -> Vec<EpochBody> {
    let (checkpoint, manifest) = (checkpoint(), hash(4));
    let signed = || signed(b"something");
    vec![
        EpochBody::Chain {
            links: vec![
                Certificate::Root(signed()),
                Certificate::Voted { decree: vec![1; 40], votes: vec![signed(), signed()] },
            ],
        },
        EpochBody::AskChain,
        EpochBody::Ack { held: Some(checkpoint) },
        EpochBody::Offer { manifest: signed() },
        EpochBody::Stored { checkpoint },
        EpochBody::Prepare { manifest: signed(), last: true },
        EpochBody::Fetching { manifest },
        EpochBody::Warm { manifest },
        EpochBody::Ready { manifest },
        EpochBody::Refuse { manifest, code: ErrorCode::Busy },
        EpochBody::Abort { manifest },
        EpochBody::AskOutcome { manifest },
        EpochBody::Lease { sent: BootMs(u64::MAX), nonce: 1 },
        EpochBody::Grant { sent: BootMs(u64::MAX), nonce: 1 },
        EpochBody::Deny { promised: Some(ballot(u64::MAX)) },
        EpochBody::Query { ballot: ballot(1) },
        EpochBody::Promise {
            ballot: ballot(1),
            accepted: Some(Accepted { ballot: ballot(0), decree: vec![2; 30] }),
            held: None,
        },
        EpochBody::Nack { ballot: ballot(1), promised: Some(ballot(u64::MAX)), wait_ms: u32::MAX },
        EpochBody::Propose { ballot: ballot(1), decree: vec![2; 30] },
        EpochBody::Voted { vote: signed() },
        EpochBody::Hold { checkpoint, from: vec![id(1); 12] },
        EpochBody::Holding { checkpoint },
        EpochBody::Cancel { order: signed() },
        EpochBody::Cancelled,
        EpochBody::Leave,
    ]
}

pub(super) fn spec() -> TaskSpec {
    TaskSpec {
        task: TASK,
        kind: "picture/1".into(),
        name: "a picture".into(),
        qos: QoS::default(),
        policy: PolicyKind::Quorum { k: 2 },
        replicas: 2,
        ops: u64::MAX,
        memory_bytes: u64::MAX,
        cores: u16::MAX,
        needs: names(&["camera/1"]),
        only: vec![id(1), id(2)],
        stay: true,
        output_bytes: u64::MAX,
        submitted: NOW,
        capabilities: vec![Capability::Camera, Capability::Named("lift".into())],
        accelerators: vec![AcceleratorNeed { kind: AcceleratorKind::Npu, memory_bytes: u64::MAX }],
        never: vec![id(3)],
        circle: Some(CircleId([4; 32])),
        terms: vec![5; 3],
    }
}

pub(super) fn grant() -> Grant {
    let rights = vec![Right::See, Right::Move, Right::Cancel];
    Grant { spec: spec(), input: hash(5), secret: hash(6), granted: vec![Granted { device: id(2), rights }] }
}

pub(super) fn acts() -> Vec<Act> {
    let to = Verb::Move { to: Some(id(2)), reason: "closer".into() };
    let act = |verb| Act { task: TASK, epoch: Epoch(u64::MAX), verb, issued: NOW };
    vec![act(to), act(Verb::Release), act(Verb::Pause), act(Verb::Save)]
}

pub(super) fn state_meta() -> StateMeta {
    StateMeta {
        kind: "picture/1".into(),
        ops_done: u64::MAX,
        progress_permille: u16::MAX,
        effects: u64::MAX,
        state_len: u64::MAX,
        ended: Some(Ended::Failure),
    }
}

pub(super) fn moved() -> Move {
    Move {
        from: id(1),
        to: id(2),
        reason: MoveReason::Person("closer".into()),
        epoch: Epoch(2),
        downtime_ms: u64::MAX,
        bytes: u64::MAX,
        at: NOW,
        rounds: u32::MAX,
        whole_ms: u64::MAX,
    }
}

fn asks() -> [Ask; 2] {
    let service = || "echo/1".parse().unwrap_or_else(|error| panic!("{error}"));
    let ask = |number, body| Ask { service: service(), grant: signed(b"a grant"), number, body };
    [ask(1, b"hello".to_vec()), ask(u64::MAX, Vec::new())]
}

fn status() -> StatusNote {
    StatusNote {
        spec: spec(),
        submitter: id(1),
        runner: Some(id(2)),
        epoch: Epoch(3),
        branch: 0,
        state: TaskState::Running,
        progress_permille: 250,
        progress_text: "pass 3".into(),
        holders: vec![id(2), id(3)],
        checkpoint: 4,
        checkpoint_age_ms: Some(800),
        moves: vec![moved()],
        error: Some("none".into()),
        result: Some(hash(8)),
        accepted: true,
    }
}
