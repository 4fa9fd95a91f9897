//! What must be known of a function before it is rewritten: which labels are reached from one place, and
//! where checks are needed.

use wasmparser::{BinaryReaderError, FunctionBody, Operator};

use super::cost;

/// Instructions of a function without loops and calls that may run without a look at the clock: few, since
/// another function can call it once for every two bytes of its own.
const UNCHECKED: i64 = 32;

/// One label: the function's own, or that of a block, loop or `if`, in the order of the code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    /// Labels of one group are reached with the same fuel outstanding: the targets of a `br_table`.
    pub(super) group: usize,
    /// It is an `if` that has an `else`.
    pub(super) has_else: bool,
    /// It is a loop with a way round on which nothing is checked.
    pub(super) unchecked: bool,
}

/// What is known of a function.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) labels: Vec<Label>,
    /// It is checked anywhere.
    pub(super) checked: bool,
    /// An operand has to be put aside for a moment.
    pub(super) needs_temporary: bool,
}

/// Whether a function must be checked as it begins, in a module that imports `imported` of them.
pub(super) fn is_checked_at_entry(body: &FunctionBody<'_>, imported: u32) -> Result<bool, BinaryReaderError> {
    let mut total = 0;
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let operator = reader.read()?;
        total += cost(&operator);
        let calls = match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                function_index >= imported
            }
            Operator::CallIndirect { .. } | Operator::ReturnCallIndirect { .. } => true,
            _ => false,
        };
        if calls || total > UNCHECKED {
            return Ok(true);
        }
    }
    Ok(false)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Loop,
    If,
}

/// Walks through a function and follows, on the way of every path, how many of the labels around were opened
/// before the last check: a loop among these needs none of its own on that path.
struct Walk<'a> {
    labels: Vec<Label>,
    groups: Vec<usize>,
    kinds: Vec<Kind>,
    /// The fewest on any path that comes to the label's end.
    at_end: Vec<Option<usize>>,
    /// Labels around, the function's first, and what was known as an `if` chose.
    open: Vec<(usize, Option<usize>)>,
    /// `None` where no path comes.
    now: Option<usize>,
    checked: bool,
    is_checked: &'a dyn Fn(u32) -> bool,
}

/// Looks through a function; `is_checked` says of each one, by its index, whether a call of it is a check.
pub(super) fn survey(
    body: &FunctionBody<'_>,
    checked_at_entry: bool,
    is_checked: &dyn Fn(u32) -> bool,
) -> Result<Survey, BinaryReaderError> {
    let mut walk = Walk {
        labels: Vec::new(),
        groups: Vec::new(),
        kinds: Vec::new(),
        at_end: Vec::new(),
        open: Vec::new(),
        now: Some(0),
        checked: checked_at_entry,
        is_checked,
    };
    walk.open(Kind::Block);
    let mut needs_temporary = false;
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let operator = reader.read()?;
        needs_temporary |= matches!(
            operator,
            Operator::CallIndirect { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::MemoryCopy { .. }
                | Operator::MemoryFill { .. }
                | Operator::MemoryInit { .. }
        );
        walk.operator(&operator)?;
    }
    for label in 0..walk.labels.len() {
        walk.labels[label].group = representative(&mut walk.groups, label);
    }
    let checked = walk.checked || walk.labels.iter().any(|label| label.unchecked);
    Ok(Survey { labels: walk.labels, checked, needs_temporary })
}

impl Walk<'_> {
    fn operator(&mut self, operator: &Operator<'_>) -> Result<(), BinaryReaderError> {
        match operator {
            Operator::Block { .. } => self.open(Kind::Block),
            Operator::If { .. } => self.open(Kind::If),
            Operator::Loop { .. } => {
                // Whatever was checked before it was so before its first turn.
                self.now = self.now.map(|checked| checked.min(self.open.len()));
                self.open(Kind::Loop);
            }
            Operator::Else => {
                self.branch(0);
                if let Some((label, at_choice)) = self.open.last() {
                    self.labels[*label].has_else = true;
                    self.now = *at_choice;
                }
            }
            Operator::End => self.end(),
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth);
                self.now = None;
            }
            Operator::BrIf { relative_depth } => {
                self.branch(*relative_depth);
            }
            Operator::BrTable { targets } => {
                let first = self.branch(targets.default());
                for depth in targets.targets() {
                    let label = self.branch(depth?);
                    join(&mut self.groups, first, label);
                }
                self.now = None;
            }
            Operator::Return | Operator::Unreachable => self.now = None,
            Operator::Call { function_index } if (self.is_checked)(*function_index) => self.check(),
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } => {
                self.check();
            }
            Operator::ReturnCall { function_index } => {
                self.checked |= (self.is_checked)(*function_index);
                self.now = None;
            }
            Operator::ReturnCallIndirect { .. } => self.now = None,
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, kind: Kind) {
        let label = self.labels.len();
        self.open.push((label, self.now));
        self.labels.push(Label { group: label, has_else: false, unchecked: false });
        self.groups.push(label);
        self.kinds.push(kind);
        self.at_end.push(None);
    }

    fn check(&mut self) {
        self.checked = true;
        self.now = self.now.map(|_| self.open.len());
    }

    /// A path comes to a label; gives the label.
    fn branch(&mut self, depth: u32) -> usize {
        let place = self.open.len() - 1 - depth as usize;
        let label = self.open[place].0;
        let Some(now) = self.now else { return label };
        if self.kinds[label] == Kind::Loop {
            self.labels[label].unchecked |= place >= now;
        } else {
            let at_end = &mut self.at_end[label];
            *at_end = Some(at_end.map_or(now, |others| others.min(now)));
        }
        label
    }

    fn end(&mut self) {
        let Some((label, at_choice)) = self.open.pop() else { return };
        if self.kinds[label] == Kind::Loop {
            return;
        }
        let alone = self.kinds[label] == Kind::If && !self.labels[label].has_else;
        let skipped = if alone { at_choice } else { None };
        let paths = [self.now, self.at_end[label], skipped];
        self.now = paths.into_iter().flatten().min();
    }
}

/// The first label of a label's group; on the way, the way is made shorter.
fn representative(groups: &mut [usize], mut label: usize) -> usize {
    while groups[label] != label {
        groups[label] = groups[groups[label]];
        label = groups[label];
    }
    label
}

fn join(groups: &mut [usize], one: usize, other: usize) {
    let (one, other) = (representative(groups, one), representative(groups, other));
    groups[one.max(other)] = one.min(other);
}

#[cfg(test)]
mod tests {
    use wasmparser::{Parser, Payload};

    use super::survey;

    /// For each loop of the second function, in the order of the code, whether it needs a check of its own.
    /// The first function is one that is checked as it begins.
    fn unchecked_loops(code: &str) -> Vec<bool> {
        let text = format!("(module (memory 1) (func $checked) (func (param $i i32) {code}))");
        let module = wat::parse_str(&text).unwrap();
        let bodies = Parser::new(0).parse_all(&module).filter_map(|payload| match payload {
            Ok(Payload::CodeSectionEntry(body)) => Some(body),
            _ => None,
        });
        let body = bodies.last().unwrap();
        let loops = |label: &usize| matches!(kinds(&body)[*label], wasmparser::Operator::Loop { .. });
        let survey = survey(&body, false, &|function| function == 0).unwrap();
        (0..survey.labels.len()).filter(loops).map(|label| survey.labels[label].unchecked).collect()
    }

    /// What opens each label; the function's own is opened by anything.
    fn kinds<'a>(body: &wasmparser::FunctionBody<'a>) -> Vec<wasmparser::Operator<'a>> {
        use wasmparser::Operator::{Block, If, Loop, Nop};
        let operators = body.get_operators_reader().unwrap().into_iter().map(Result::unwrap);
        let opens = operators.filter(|one| matches!(one, Block { .. } | Loop { .. } | If { .. }));
        std::iter::once(Nop).chain(opens).collect()
    }

    #[test]
    fn a_loop_is_checked_by_itself_unless_every_way_round_it_is() {
        let cases: &[(&str, &[bool])] = &[
            ("(loop (br 0))", &[true]),
            ("(loop (br_if 0 (local.get $i)))", &[true]),
            ("(loop)", &[false]),
            ("(loop (call $checked) (br 0))", &[false]),
            ("(call $checked) (loop (br 0))", &[true]),
            ("(loop (br_if 0 (local.get $i)) (call $checked) (br 0))", &[true]),
            ("(loop (if (local.get $i) (then (call $checked))) (br 0))", &[true]),
            ("(loop (if (local.get $i) (then (call $checked)) (else (call $checked))) (br 0))", &[false]),
            ("(loop (block (br_if 0 (local.get $i)) (call $checked)) (br 0))", &[true]),
            ("(loop (call $checked) (loop (br 0)))", &[false, true]),
            ("(loop (loop (call $checked) (br_if 0 (local.get $i))) (br 0))", &[false, false]),
            ("(loop $out (call $checked) (loop (br_if $out (local.get $i)) (br 0)))", &[false, true]),
            ("(loop $again (block (br_table $again 0 (local.get $i))) (call $checked) (br $again))", &[true]),
            ("(loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 8)) (br 0))", &[false]),
        ];
        for (code, expected) in cases {
            assert_eq!(unchecked_loops(code), *expected, "{code}");
        }
    }
}
