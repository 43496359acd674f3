//! As much of a message of the domain name system as a forwarder reads (RFC 1035 §4).

use dockless_sandbox::GATEWAY;

const HEADER: usize = 12;
/// Longest name, with its dots.
const MAX_NAME: usize = 255;
/// Seconds for which an answer of ours may be kept.
const KEEP: u32 = 5;

/// Codes of answers.
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;

/// An address of version 4, of the internet.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// A message that asks one thing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Without the dot at its end.
    pub(super) name: String,
    id: [u8; 2],
    /// Whether the asker wants the work done for it.
    recursion: bool,
    /// Name, kind and class as they came.
    bytes: Vec<u8>,
}

/// What becomes of a message that asks nothing that is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is no question.
    Ignore,
    /// This is told.
    Refuse(Vec<u8>),
}

impl Question {
    pub(super) fn read(message: &[u8]) -> Result<Self, Verdict> {
        let header: &[u8; HEADER] = message.first_chunk().ok_or(Verdict::Ignore)?;
        // The highest bit marks answers: answering those would never end.
        if header[2] & 0x80 != 0 {
            return Err(Verdict::Ignore);
        }
        let (id, recursion) = ([header[0], header[1]], header[2] & 1 == 1);
        let refuse =
            |code| Verdict::Refuse(Self { name: String::new(), id, recursion, bytes: Vec::new() }.head(code, 0));
        if header[2] & 0x78 != 0 {
            return Err(refuse(NOT_IMPLEMENTED));
        }
        if header[4..6] != [0, 1] {
            return Err(refuse(FORMAT_ERROR));
        }
        let mut name = String::new();
        let mut at = HEADER;
        loop {
            let length = usize::from(*message.get(at).ok_or_else(|| refuse(FORMAT_ERROR))?);
            at += 1;
            if length == 0 {
                break;
            }
            let label = message.get(at..at + length).filter(|_| length < 64).ok_or_else(|| refuse(FORMAT_ERROR))?;
            if !name.is_empty() {
                name.push('.');
            }
            // Bytes that no name of ours has become ones that no name of ours has either.
            name.extend(
                label.iter().map(|byte| if byte.is_ascii_graphic() && *byte != b'.' { char::from(*byte) } else { '?' }),
            );
            at += length;
            if name.len() > MAX_NAME {
                return Err(refuse(FORMAT_ERROR));
            }
        }
        let bytes = message.get(HEADER..at + 4).ok_or_else(|| refuse(FORMAT_ERROR))?.to_vec();
        Ok(Self { name, id, recursion, bytes })
    }

    /// Whether a message answers this question, under this number.
    pub(super) fn is_answered_by(&self, message: &[u8], id: [u8; 2]) -> bool {
        message.get(..2) == Some(&id[..])
            && message.get(2).is_some_and(|flags| flags & 0x80 != 0)
            && message.get(HEADER..HEADER + self.bytes.len()) == Some(&self.bytes[..])
    }

    pub(super) fn id(&self) -> [u8; 2] {
        self.id
    }

    /// The gateway's address; nothing of other kinds.
    pub(super) fn answer_gateway(&self) -> Vec<u8> {
        if !self.bytes.ends_with(&ADDRESS) {
            return self.head(0, 0);
        }
        let mut answer = self.head(0, 1);
        // The name is the question's: a pointer to it.
        answer.extend([0xc0, 12]);
        answer.extend(ADDRESS);
        answer.extend(KEEP.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(GATEWAY.octets());
        answer
    }

    pub(super) fn no_such_name(&self) -> Vec<u8> {
        self.head(NO_SUCH_NAME, 0)
    }

    pub(super) fn failed(&self) -> Vec<u8> {
        self.head(SERVER_FAILURE, 0)
    }

    /// Nothing but the word that the answer is too long for a datagram.
    pub(super) fn too_long(&self) -> Vec<u8> {
        let mut answer = self.head(0, 0);
        answer[2] |= 0x02;
        answer
    }

    /// Header and question of an answer.
    fn head(&self, code: u8, answers: u8) -> Vec<u8> {
        let mut head = self.id.to_vec();
        head.extend([0x80 | u8::from(self.recursion), 0x80 | code]);
        head.extend([0, u8::from(!self.bytes.is_empty()), 0, answers, 0, 0, 0, 0]);
        head.extend(&self.bytes);
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, kind: u8) -> Vec<u8> {
        let mut message = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, kind, 0, 1]);
        message
    }

    #[test]
    fn a_question_is_read_and_answered_with_itself() {
        let message = asked("App.localhost", 1);
        let question = Question::read(&message).unwrap();
        assert_eq!(question.name, "App.localhost");
        let answer = question.answer_gateway();
        assert_eq!(answer[..12], [7, 9, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert!(answer.ends_with(&GATEWAY.octets()) && question.is_answered_by(&answer, [7, 9]));
        assert!(!question.is_answered_by(&answer, [7, 8]) && !question.is_answered_by(&message, [7, 9]));
        let other = Question::read(&asked("App.localhost", 28)).unwrap();
        assert!(!other.is_answered_by(&answer, [7, 9]));
        assert_eq!(other.answer_gateway()[6..8], [0, 0], "it has no address of version 6");
        assert_eq!(question.no_such_name()[3], 0x83);
        assert_eq!(question.too_long()[2], 0x83);
    }

    #[test]
    fn what_is_no_question_is_ignored_or_refused() {
        let good = asked("a.example", 1);
        for length in 0..good.len() {
            assert!(Question::read(&good[..length]).is_err(), "{length}");
        }
        let mut answer = good.clone();
        answer[2] |= 0x80;
        assert_eq!(Question::read(&answer), Err(Verdict::Ignore));
        let mut update = good.clone();
        update[2] |= 0x28;
        assert!(matches!(Question::read(&update), Err(Verdict::Refuse(answer)) if answer[3] == 0x84));
        // A pointer where a name begins, none, two questions, a name without end.
        let mut pointer = good.clone();
        pointer[12] = 0xc0;
        let mut none = good.clone();
        none[5] = 0;
        let mut two = good.clone();
        two[5] = 2;
        let endless = asked(&["abcdefgh"; 40].join("."), 1);
        for message in [pointer, none, two, endless] {
            assert!(matches!(Question::read(&message), Err(Verdict::Refuse(answer)) if answer[3] == 0x81));
        }
        assert_eq!(Question::read(&asked("a b.\u{e9}", 1)).unwrap().name, "a?b.??");
    }
}
