use proptest::prelude::*;

use super::*;

fn flow(id: u64, weight: u32) -> Flow {
    Flow { id, weight }
}

fn party(tenant: u64, agent: u64) -> Party {
    Party { tenant: flow(tenant, 100), agent: flow(agent, 100) }
}

/// Serves `turns` turns to flows that always want another one. What each was served.
fn served(flows: &[(Party, u64)], turns: usize) -> Vec<u64> {
    let mut queue = Queue::new(1_000);
    for (index, (party, _)) in flows.iter().enumerate() {
        queue.push(*party, index);
    }
    let mut served = vec![0; flows.len()];
    for _ in 0..turns {
        let (_, index) = queue.pop().expect("somebody always waits");
        let (party, cost) = flows[index];
        served[index] += cost;
        queue.push(party, index);
        queue.settle(party, cost);
    }
    served
}

#[test]
fn a_tenant_with_many_agents_gets_no_more_than_one_with_few() {
    let mut flows: Vec<_> = (0..256).map(|agent| (party(1, agent), 1_000)).collect();
    flows.push((party(2, 1_000), 1_000));
    let served = served(&flows, 10_000);
    let (many, one) = (served[..256].iter().sum::<u64>(), served[256]);
    assert!(many.abs_diff(one) <= 2_000, "{many} {one}");
    let (least, most) = (served[..256].iter().min(), served[..256].iter().max());
    assert!(most.unwrap() - least.unwrap() <= 2_000);
}

#[test]
fn who_comes_late_is_next_and_has_saved_nothing_up() {
    let mut queue = Queue::new(10);
    for _ in 0..100 {
        queue.push(party(1, 1), 'a');
        queue.pop().unwrap();
        queue.settle(party(1, 1), 10);
    }
    queue.push(party(1, 1), 'a');
    queue.push(party(1, 1), 'a');
    queue.push(party(2, 2), 'b');
    queue.push(party(2, 2), 'b');
    queue.push(party(2, 2), 'b');
    let order: String = std::iter::from_fn(|| queue.pop().map(|(_, item)| item)).collect();
    assert_eq!(order, "babab");
}

#[test]
fn leaving_sheds_no_debt() {
    let mut queue = Queue::new(1);
    queue.push(party(1, 1), 'a');
    queue.push(party(2, 2), 'b');
    assert_eq!(queue.pop().unwrap().1, 'a');
    queue.settle(party(1, 1), 50);
    // The turn was long, and it comes back after having been away.
    queue.push(party(1, 1), 'a');
    for turn in 0..50 {
        assert_eq!(queue.pop().unwrap().1, 'b', "turn {turn}");
        queue.push(party(2, 2), 'b');
    }
    let next: Vec<_> = (0..2).map(|_| queue.pop().unwrap().1).collect();
    assert!(next.contains(&'a'), "{next:?}");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut queue = Queue::new(1);
    queue.push(party(0, 0), ());
    for number in 1..3 * DEBTORS_MAX as u64 {
        // Each leaves with a debt, and never comes back.
        queue.spend(party(number, number), 1_000);
    }
    assert!(queue.flows() <= 2 * (DEBTORS_MAX + 2), "{}", queue.flows());
    assert_eq!(queue.len(), 1);
    queue.pop().unwrap();
    queue.reset();
    assert_eq!(queue.flows(), 0);
}

/// What happens to a queue.
#[derive(Debug, Clone)]
enum Step {
    Push { tenant: u64, agent: u64 },
    Pop { cost: u64 },
    Remove { index: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u64..5, 0_u64..4).prop_map(|(tenant, agent)| Step::Push { tenant, agent }),
        2 => (0_u64..20).prop_map(|cost| Step::Pop { cost }),
        1 => any::<usize>().prop_map(|index| Step::Remove { index }),
    ]
}

proptest! {
    /// It hands out exactly what was put in and not taken back, in order of arrival for each agent, and is never idle
    /// while somebody waits.
    #[test]
    fn it_is_a_queue(steps in prop::collection::vec(step(), 0..200)) {
        let mut queue = Queue::new(5);
        let mut model: Vec<(Ticket, u64)> = Vec::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Push { tenant, agent } => {
                    let ticket = queue.push(party(tenant, tenant * 10 + agent), number);
                    model.push((ticket, number));
                }
                Step::Pop { cost } => {
                    let popped = queue.pop();
                    prop_assert_eq!(popped.is_some(), !model.is_empty());
                    let Some((ticket, number)) = popped else { continue };
                    let of_agent = |(other, _): &&(Ticket, u64)| {
                        (other.tenant, other.agent) == (ticket.tenant, ticket.agent)
                    };
                    prop_assert_eq!(model.iter().find(of_agent), Some(&(ticket, number)));
                    model.retain(|(other, _)| *other != ticket);
                    queue.settle(party(ticket.tenant, ticket.agent), cost);
                }
                Step::Remove { index } => {
                    if model.is_empty() {
                        continue;
                    }
                    let (ticket, number) = model.remove(index % model.len());
                    prop_assert_eq!(queue.remove(&ticket), Some(number));
                    prop_assert_eq!(queue.remove(&ticket), None);
                }
            }
            prop_assert_eq!(queue.len(), model.len());
            // Five tenants, each with four agents.
            prop_assert!(queue.flows() <= 5 + 20);
        }
    }

    /// Of flows that always wait, each is served by its weight, within one turn of each; so none starves.
    #[test]
    fn weights_are_kept_within_a_turn(
        flows in prop::collection::vec((1_u32..=Flow::WEIGHT_MAX, 1_u64..2_000), 2..6),
        turns in 50_usize..2_000,
    ) {
        let parties: Vec<_> = (1..)
            .zip(&flows)
            .map(|(id, (weight, cost))| {
                (Party { tenant: flow(id, *weight), agent: flow(id, 100) }, *cost)
            })
            .collect();
        let served = served(&parties, turns);
        let part = |index: usize| served[index] as f64 / f64::from(flows[index].0);
        let turn = |index: usize| flows[index].1.max(1_000) as f64 / f64::from(flows[index].0);
        for one in 0..flows.len() {
            for other in 0..one {
                let apart = (part(one) - part(other)).abs();
                // Tags are whole numbers, which costs a little each turn.
                let rounding = turns as f64 / 100.0;
                prop_assert!(apart <= turn(one) + turn(other) + rounding, "{served:?} {flows:?}");
            }
        }
    }

    /// The same between the agents of one tenant.
    #[test]
    fn agents_of_a_tenant_share_its_part(agents in 1_u64..8, turns in 100_usize..1_000) {
        let mut flows: Vec<_> = (0..agents).map(|agent| (party(1, agent), 1_000)).collect();
        flows.push((party(2, 99), 1_000));
        let served = served(&flows, turns);
        let (others, last) = served.split_at(agents as usize);
        prop_assert!(others.iter().sum::<u64>().abs_diff(last[0]) <= 2_000);
        let least = others.iter().min().unwrap();
        prop_assert!(others.iter().all(|served| served - least <= 2_000), "{served:?}");
    }
}
