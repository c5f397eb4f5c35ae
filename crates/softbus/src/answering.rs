//! `ask/1`: services of this device answer programs, whichever device runs them.
//!
//! What a program asks has a number within its task. As long as its answer is remembered here, what comes again under that
//! number, from the same device or the next that runs the program, is not carried out again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use softbus_core::wire::ask::Ask;
use softbus_core::{DeviceId, ErrorCode, HEADER_LEN, Message as _, ServiceName, TaskId, decode};
use softbus_net::seam::BoxFuture;
use softbus_net::{Asker, Caller, Judge as _, Respond};
use softbus_task::OpenGrant;
use softbus_trust::Role;
use tokio::sync::watch;

use crate::bus::Rooms;

/// Questions that are at work, or whose answer is remembered.
const QUESTIONS: usize = 256;
/// Questions of one device that are at work.
const OF_A_DEVICE: usize = 64;
/// Of all questions and answers that are remembered.
const BYTES: usize = 32 << 20;

/// The service under which it is asked.
pub(crate) fn service() -> ServiceName {
    "ask/1".parse().expect("`ask/1` is a service name")
}

/// Where the rooms are, once they are; it does not keep them.
#[derive(Clone, Default)]
pub(crate) struct Place(Arc<OnceLock<Weak<Rooms>>>);

impl Place {
    pub fn is(&self, rooms: &Arc<Rooms>) {
        let _ = self.0.set(Arc::downgrade(rooms));
    }

    pub fn rooms(&self) -> Option<Arc<Rooms>> {
        self.0.get()?.upgrade()
    }
}

type Answer = Result<Vec<u8>, ErrorCode>;

/// The services that a program may ask, by its task's terms (`softbus_wasm::Terms`), which begin with them: a device answers programs
/// though it may run none.
fn services(terms: &[u8]) -> BTreeSet<ServiceName> {
    postcard::take_from_bytes(terms).map(|(services, _)| services).unwrap_or_default()
}

/// Whether another try, here or elsewhere, may have another answer.
pub(crate) fn is_passing(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NoSuchService | ErrorCode::Busy | ErrorCode::Cancelled | ErrorCode::Unreachable)
}

/// Answers what programs ask. Clones share what is remembered.
#[derive(Clone)]
pub(crate) struct Asks {
    place: Place,
    asked: Arc<Mutex<Asked>>,
}

impl Asks {
    pub fn new(place: Place) -> Self {
        Self { place, asked: Arc::default() }
    }

    /// Answers a question that this device or another asks for a program.
    pub async fn answer(&self, from: Caller, ask: Ask) -> Answer {
        let rooms = self.place.rooms().ok_or(ErrorCode::NoSuchService)?;
        let me = rooms.net.id();
        // What is the bus's own is for devices, not for programs.
        if !rooms.offered.lock().unwrap_or_else(PoisonError::into_inner).contains(&ask.service) {
            return Err(ErrorCode::NoSuchService);
        }
        let Ask { service, grant, number, body } = ask;
        let grant = OpenGrant::open(grant).map_err(|_| ErrorCode::Malformed)?;
        let (task, submitter) = (grant.task(), grant.submitter());
        // Its submitter lets the program ask this, and that device run it.
        let granted = services(&grant.grant.spec.terms).contains(&service);
        let role = match grant.circle() {
            // One that is of no circle is its submitter's alone.
            None => (from.device == submitter).then_some(Role::Owner),
            // Of a circle that this device is not in it cannot tell the roles.
            Some(circle) if rooms.keeper.own_role_in(&circle).is_none() => Some(Role::Member),
            Some(circle) if from.device == me => rooms.keeper.own_role_in(&circle),
            Some(circle) => rooms.keeper.role_in(&circle, &from.device),
        };
        if !granted || !task.is_of(&submitter) || !grant.may_run(&from.device, role) {
            return Err(ErrorCode::Forbidden);
        }
        // A program can do no more than who submitted it, and no more than who runs it.
        for device in [from.device, submitter] {
            if device != me {
                rooms.keeper.may_open(&device, &service)?;
            }
        }
        let key = (task, number);
        let begun = self.asked().begin(from.device, key, &service, &body)?;
        let mut answer = match begun {
            Begun::Before(answer) => answer,
            Begun::Now(tell, answer, turn) => {
                let program = Some(Asker { task, submitter, number });
                let work = rooms.router.respond(&service, Caller { program, ..from }, body);
                let work = work.ok_or(ErrorCode::NoSuchService)?;
                let asked = self.asked.clone();
                // On its own: who asked may go, and ask again from elsewhere.
                rooms.net.seam().sockets.runtime().spawn(Box::pin(async move {
                    let answer = work.await;
                    let len = answer.as_ref().map_or(0, Vec::len);
                    let again = answer.as_ref().err().is_some_and(|code| is_passing(*code));
                    tell.send_replace(Some(answer));
                    asked.lock().unwrap_or_else(PoisonError::into_inner).ended(key, turn, len, again);
                }));
                answer
            }
        };
        drop(rooms);
        let came = answer.wait_for(Option::is_some).await;
        came.ok().and_then(|answer| answer.clone()).unwrap_or(Err(ErrorCode::Internal))
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Respond for Asks {
    fn respond(&self, from: Caller, request: Vec<u8>) -> BoxFuture<'static, Answer> {
        let asks = self.clone();
        Box::pin(async move {
            let ask: Ask = decode(&request).map_err(|_| ErrorCode::Malformed)?;
            drop(request);
            if !ask.is_sound() {
                return Err(ErrorCode::Malformed);
            }
            asks.answer(from, ask).await
        })
    }

    fn longest(&self) -> usize {
        HEADER_LEN + Ask::MAX_BYTES
    }
}

type Key = (TaskId, u64);

/// What is asked, and was.
#[derive(Default)]
struct Asked {
    questions: BTreeMap<Key, Question>,
    /// The oldest first.
    order: VecDeque<Key>,
    bytes: usize,
    /// Questions that were ever begun.
    turns: u64,
}

struct Question {
    from: DeviceId,
    service: ServiceName,
    body: Vec<u8>,
    answer: watch::Receiver<Option<Answer>>,
    answer_len: usize,
    /// Tells it from others that had its number.
    turn: u64,
}

impl Question {
    /// Whether it is still being worked on. One whose handler died is not.
    fn is_open(&self) -> bool {
        self.answer.borrow().is_none() && self.answer.has_changed().is_ok()
    }

    fn is_lost(&self) -> bool {
        self.answer.borrow().is_none() && self.answer.has_changed().is_err()
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.answer_len
    }
}

enum Begun {
    /// It is to be carried out.
    Now(watch::Sender<Option<Answer>>, watch::Receiver<Option<Answer>>, u64),
    /// It was asked before.
    Before(watch::Receiver<Option<Answer>>),
}

impl Asked {
    fn begin(
        &mut self,
        from: DeviceId,
        key: Key,
        service: &ServiceName,
        body: &[u8],
    ) -> Result<Begun, ErrorCode> {
        if let Some(known) = self.questions.get(&key) {
            let same = known.service == *service && known.body == body;
            if same && !known.is_lost() {
                return Ok(Begun::Before(known.answer.clone()));
            }
            // After a fail-over a program may ask something else under the number: what was before is asked no more. While that
            // is at work, the other waits, so that nobody has more at work than is counted.
            if known.is_open() {
                return Err(ErrorCode::Busy);
            }
            self.forget(key);
        }
        let open = |of: &dyn Fn(&Question) -> bool| {
            self.questions.values().filter(|question| question.is_open() && of(question)).count()
        };
        if open(&|_| true) >= QUESTIONS || open(&|question| question.from == from) >= OF_A_DEVICE {
            return Err(ErrorCode::Busy);
        }
        let (tell, answer) = watch::channel(None);
        let (service, body) = (service.clone(), body.to_vec());
        self.bytes += body.len();
        self.turns += 1;
        let turn = self.turns;
        self.questions
            .insert(key, Question { from, service, body, answer: answer.clone(), answer_len: 0, turn });
        self.order.push_back(key);
        self.make_room();
        Ok(Begun::Now(tell, answer, turn))
    }

    /// It was answered; with what may be answered otherwise if it is asked `again`.
    fn ended(&mut self, key: Key, turn: u64, len: usize, again: bool) {
        let Some(question) = self.questions.get_mut(&key).filter(|question| question.turn == turn) else {
            return;
        };
        question.answer_len = len;
        self.bytes += len;
        if again {
            self.forget(key);
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.questions.len() > QUESTIONS || self.bytes > BYTES {
            // Of the device that has the most: nobody's questions drive out those of others.
            let mut of: BTreeMap<DeviceId, usize> = BTreeMap::new();
            let over = |key: &&Key| self.questions.get(key).is_some_and(|question| !question.is_open());
            for key in self.order.iter().filter(over) {
                if let Some(question) = self.questions.get(key) {
                    *of.entry(question.from).or_default() += question.bytes() + BYTES / QUESTIONS;
                }
            }
            let Some(most) = of.into_iter().max_by_key(|(_, held)| *held).map(|(device, _)| device) else {
                return;
            };
            let its = |key: &&Key| over(key) && self.questions.get(key).is_some_and(|one| one.from == most);
            let Some(oldest) = self.order.iter().find(its).copied() else { return };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(question) = self.questions.remove(&key) {
            self.bytes -= question.bytes();
            self.order.retain(|other| *other != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "wasm")]
    #[test]
    fn terms_begin_with_the_services() {
        let granted: BTreeSet<ServiceName> = ["echo/1".parse().unwrap(), "film/2".parse().unwrap()].into();
        let grants = softbus_wasm::bus::Grants { services: granted.clone(), inference: true };
        let terms = softbus_wasm::Terms { grants, ..softbus_wasm::Terms::of(b"") };
        assert_eq!(services(&terms.to_bytes()), granted);
        assert!(services(b"").is_empty() && services(&[200, 1]).is_empty());
    }

    fn key(number: u64) -> Key {
        (TaskId::of(&DeviceId([1; 32]), [7; 8]), number)
    }

    fn begin(asked: &mut Asked, from: DeviceId, number: u64, body: &[u8]) -> Result<Begun, ErrorCode> {
        asked.begin(from, key(number), &"echo/1".parse().unwrap(), body)
    }

    const FROM: DeviceId = DeviceId([2; 32]);

    fn end(asked: &mut Asked, number: u64, tell: &watch::Sender<Option<Answer>>, turn: u64, answer: Answer) {
        let len = answer.as_ref().map_or(0, Vec::len);
        let again = answer.as_ref().err().is_some_and(|code| is_passing(*code));
        tell.send_replace(Some(answer));
        asked.ended(key(number), turn, len, again);
    }

    #[test]
    fn a_question_is_carried_out_once() {
        let mut asked = Asked::default();
        let Ok(Begun::Now(tell, _, turn)) = begin(&mut asked, FROM, 1, b"what") else { panic!("new") };
        assert!(matches!(begin(&mut asked, FROM, 1, b"other"), Err(ErrorCode::Busy)), "while it is at work");
        let Ok(Begun::Before(waiting)) = begin(&mut asked, FROM, 1, b"what") else { panic!("at work") };
        end(&mut asked, 1, &tell, turn, Ok(vec![5; 10]));
        assert_eq!(*waiting.borrow(), Some(Ok(vec![5; 10])));
        let Ok(Begun::Before(known)) = begin(&mut asked, FROM, 1, b"what") else { panic!("known") };
        assert_eq!(*known.borrow(), Some(Ok(vec![5; 10])));
        // Another question under its number takes its place.
        assert!(matches!(begin(&mut asked, FROM, 1, b"other"), Ok(Begun::Now(..))));
        assert_eq!((asked.questions.len(), asked.order.len(), asked.bytes), (1, 1, 5));
        // What is told of the one before, late, is nothing to it.
        asked.ended(key(1), turn, 10, true);
        assert_eq!((asked.questions.len(), asked.bytes), (1, 5));
    }

    #[test]
    fn what_may_be_answered_otherwise_and_what_died_is_asked_anew() {
        let mut asked = Asked::default();
        let Ok(Begun::Now(tell, _, turn)) = begin(&mut asked, FROM, 1, b"a") else { panic!("new") };
        end(&mut asked, 1, &tell, turn, Err(ErrorCode::Busy));
        assert_eq!((asked.questions.len(), asked.order.len(), asked.bytes), (0, 0, 0));
        let Ok(Begun::Now(tell, ..)) = begin(&mut asked, FROM, 2, b"a") else { panic!("new") };
        drop(tell);
        assert!(matches!(begin(&mut asked, FROM, 2, b"a"), Ok(Begun::Now(..))));
        let Ok(Begun::Now(tell, _, turn)) = begin(&mut asked, FROM, 3, b"a") else { panic!("new") };
        end(&mut asked, 3, &tell, turn, Err(ErrorCode::NotFound));
        assert!(matches!(begin(&mut asked, FROM, 3, b"a"), Ok(Begun::Before(_))));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut asked = Asked::default();
        let mut open = Vec::new();
        for number in 0..OF_A_DEVICE as u64 {
            open.push(begin(&mut asked, FROM, number, b"x").map(drop));
            // Nobody is at work on it.
        }
        assert!(open.iter().all(Result::is_ok));
        let mut tells = Vec::new();
        for number in 100..100 + OF_A_DEVICE as u64 {
            match begin(&mut asked, FROM, number, b"x") {
                Ok(Begun::Now(tell, _, turn)) => tells.push((tell, turn)),
                _ => panic!("there is room"),
            }
        }
        assert!(matches!(begin(&mut asked, FROM, 999, b"x"), Err(ErrorCode::Busy)));
        assert!(begin(&mut asked, DeviceId([3; 32]), 999, b"x").is_ok(), "others are not its fault");
        for ((tell, turn), number) in tells.iter().zip(100..) {
            end(&mut asked, number, tell, *turn, Ok(vec![0; 1 << 20]));
        }
        assert!(asked.bytes <= BYTES, "{}", asked.bytes);
        let sum: usize = asked.questions.values().map(Question::bytes).sum();
        assert_eq!((sum, asked.questions.len()), (asked.bytes, asked.order.len()));
        assert!(matches!(begin(&mut asked, FROM, 163, b"x"), Ok(Begun::Before(_))), "the last are kept");
    }
}
