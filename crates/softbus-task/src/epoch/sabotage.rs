//! Ways to break the machine, for proving that the tests would notice. Compiled into tests only, and with feature
//! `sabotage` into those of a simulator.

/// One safeguard that is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// Messages leave before the record is durable.
    SendBeforePersist,
    /// Acceptors promise to others while the owner's lease still binds them.
    NoLeaseWait,
    /// An acceptor that restarted forgets that it may have granted a lease.
    NoRebootWait,
    /// The owner runs on past the end of its lease.
    NoPause,
    /// Acceptors vote in ballots smaller than the one they promised.
    NoPromiseCheck,
    /// A proposer ignores what others voted for.
    ForgetAccepted,
    /// A holder acknowledges checkpoints after it promised to another.
    AckAfterPromise,
    /// Effects leave before a majority holds the checkpoint.
    ReleaseUncovered,
    /// A new epoch may start from any checkpoint, not the newest promised.
    OldestBase,
    /// A destination in doubt runs.
    RunInDoubt,
    /// The source of a hand-over goes on after the decision.
    RunAfterCommit,
    /// An epoch with new acceptors counts as a lease even if the old one had run out.
    LeaseForNothing,
    /// Acceptors grant leases to an owner although they promised to another.
    GrantAfterPromise,
    /// A running owner takes in checkpoints while its proposal is under way.
    NoFreeze,
    /// A device that forgets a task forgets what it voted for, too.
    ForgetWithoutTrace,
    /// Whatever is said counts as if it were said in the present epoch, and whoever asks for a lease as its owner.
    IgnoreEpoch,
    /// An acceptor that lost what it was counted for still says what it holds.
    PromiseAfterLoss,
}
