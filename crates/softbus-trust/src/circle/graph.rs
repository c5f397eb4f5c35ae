/// The strongly connected components of a graph, each after all others that it rests on. Tarjan's algorithm,
/// without recursion: foreign statements shape the graph, and they shall not exhaust the stack. Nor the memory: of
/// a node under visit only its place among its arrows is held.
pub(super) fn components<I: Iterator<Item = usize>>(
    nodes: &[usize],
    rests_on: impl Fn(usize) -> I,
) -> Vec<Vec<usize>> {
    struct Visit<I> {
        node: usize,
        edges: I,
    }
    #[derive(Clone, Copy)]
    struct Mark {
        order: usize,
        low: usize,
        stacked: bool,
    }
    // Nodes are numbers of entries, so a table by number is small. Outer `None`: no node of this graph.
    let mut marks: Vec<Option<Option<Mark>>> = vec![None; nodes.iter().max().map_or(0, |most| most + 1)];
    for &node in nodes {
        marks[node] = Some(None);
    }
    let (mut found, mut stack, mut order) = (Vec::new(), Vec::new(), 0);
    for &root in nodes {
        if !matches!(marks[root], Some(None)) {
            continue;
        }
        let mut visits: Vec<Visit<I>> = Vec::new();
        let mut enter = Some(root);
        loop {
            if let Some(node) = enter.take() {
                marks[node] = Some(Some(Mark { order, low: order, stacked: true }));
                order += 1;
                stack.push(node);
                visits.push(Visit { node, edges: rests_on(node) });
            }
            let Some(visit) = visits.last_mut() else { break };
            if let Some(to) = visit.edges.next() {
                let node = visit.node;
                match marks.get(to).copied().flatten() {
                    Some(None) => enter = Some(to),
                    Some(Some(mark)) if mark.stacked => lower(&mut marks, node, mark.order),
                    _ => {}
                }
                continue;
            }
            let node = visit.node;
            visits.pop();
            let Some(Some(mark)) = marks[node] else { continue };
            if let Some(parent) = visits.last() {
                lower(&mut marks, parent.node, mark.low);
            }
            if mark.low == mark.order {
                let mut component = Vec::new();
                while let Some(member) = stack.pop() {
                    if let Some(Some(mark)) = &mut marks[member] {
                        mark.stacked = false;
                    }
                    component.push(member);
                    if member == node {
                        break;
                    }
                }
                component.sort_unstable();
                found.push(component);
            }
        }
    }
    return found;

    fn lower(marks: &mut [Option<Option<Mark>>], node: usize, to: usize) {
        if let Some(Some(mark)) = &mut marks[node] {
            mark.low = mark.low.min(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_come_after_what_they_rest_on() {
        let edges = [vec![1], vec![2], vec![0, 3], vec![4], vec![3, 5], vec![], vec![0]];
        let all: Vec<usize> = (0..edges.len()).collect();
        let found = components(&all, |node| edges[node].iter().copied());
        assert_eq!(found, [vec![5], vec![3, 4], vec![0, 1, 2], vec![6]]);
    }

    #[test]
    fn a_long_chain_does_not_exhaust_the_stack() {
        let all: Vec<usize> = (0..100_000).collect();
        let found = components(&all, |node| (node + 1 < 100_000).then_some(node + 1).into_iter());
        assert_eq!(found.len(), 100_000);
        assert_eq!(found[0], [99_999]);
    }
}
