//! What must be known of a function before it is rewritten: which labels are reached from one place, and what it does that
//! asks for checks.

use wasmparser::{BinaryReaderError, FunctionBody, Operator};

use super::cost;

/// Instructions of a function without loops and calls that may run without a look at the clock: few, since another
/// function can call it once for every two bytes of its own.
const UNCHECKED: i64 = 32;

/// One label: the function's own, or that of a block, loop or `if`, in the order of the code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    /// Labels of one group are reached with the same fuel outstanding: the targets of a `br_table`.
    pub(super) group: usize,
    /// It is an `if` that has an `else`.
    pub(super) has_else: bool,
}

/// What is known of a function.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) labels: Vec<Label>,
    /// It is checked as it begins.
    pub(super) checked_at_entry: bool,
    /// It is checked anywhere.
    pub(super) checked: bool,
    /// An operand has to be put aside for a moment.
    pub(super) needs_temporary: bool,
}

/// Looks through a function of a module with so many imported ones.
pub(super) fn survey(body: &FunctionBody<'_>, imported: u32) -> Result<Survey, BinaryReaderError> {
    let mut groups = vec![0];
    let mut has_else = vec![false];
    let mut open = vec![0];
    let (mut loops, mut guest_calls, mut host_calls, mut copies, mut indirect) =
        (false, false, false, false, false);
    let mut total = 0;
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let operator = reader.read()?;
        total += cost(&operator);
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                loops |= matches!(operator, Operator::Loop { .. });
                open.push(groups.len());
                groups.push(groups.len());
                has_else.push(false);
            }
            Operator::Else => has_else[open[open.len() - 1]] = true,
            Operator::End => {
                open.pop();
            }
            Operator::BrTable { targets } => {
                let label = |depth: u32| open[open.len() - 1 - depth as usize];
                let first = label(targets.default());
                for depth in targets.targets() {
                    join(&mut groups, first, label(depth?));
                }
            }
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                host_calls |= function_index < imported;
                guest_calls |= function_index >= imported;
            }
            Operator::CallIndirect { .. } | Operator::ReturnCallIndirect { .. } => {
                guest_calls = true;
                indirect = true;
            }
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } => {
                copies = true;
            }
            _ => {}
        }
    }
    let labels = (0..groups.len())
        .map(|label| Label { group: representative(&mut groups, label), has_else: has_else[label] });
    let labels = labels.collect();
    let checked_at_entry = guest_calls || total > UNCHECKED;
    let checked = checked_at_entry || loops || copies || host_calls;
    Ok(Survey { labels, checked_at_entry, checked, needs_temporary: copies || indirect })
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
