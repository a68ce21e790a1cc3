//! The order in which waiting parties are served. Pure: no clock, no lock, no waiting.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Flow, Party};

/// Flows that do not wait and still owe something, per level. Each is a few dozen bytes; beyond that the least debts are
/// forgiven, so that agents which come and go cannot fill the memory.
const DEBTORS_MAX: usize = 4096;

/// Virtual time: what was served, times [`Flow::WEIGHT_MAX`], divided by the weight. Wide enough for nanoseconds and
/// centuries.
type Tag = u128;

fn scaled(cost: u64, weight: u32) -> Tag {
    Tag::from(cost) * Tag::from(Flow::WEIGHT_MAX) / Tag::from(weight.max(1))
}

/// One level: where each flow stands, and which of those that wait is next.
#[derive(Default)]
struct Order {
    stands: HashMap<u64, Stand>,
    /// Those that wait: by their tag; among equals, whoever was moved first.
    waiting: BTreeSet<(Tag, u64, u64)>,
    /// Those that do not and are ahead of `now`.
    debtors: BTreeSet<(Tag, u64)>,
    /// The tag of what was served last.
    now: Tag,
    moves: u64,
}

struct Stand {
    tag: Tag,
    moved: u64,
    weight: u32,
    waits: bool,
}

impl Order {
    /// A flow waits from now on, or goes on waiting.
    fn wait(&mut self, flow: Flow) {
        let now = self.now;
        self.moves += 1;
        let moved = self.moves;
        let new = Stand { tag: now, moved, weight: flow.weight, waits: false };
        let stand = self.stands.entry(flow.id).or_insert(new);
        stand.weight = flow.weight;
        if stand.waits {
            return;
        }
        self.debtors.remove(&(stand.tag, flow.id));
        stand.tag = stand.tag.max(now);
        stand.moved = moved;
        stand.waits = true;
        self.waiting.insert((stand.tag, moved, flow.id));
    }

    /// Nothing of the flow waits any more.
    fn rest(&mut self, id: u64) {
        let Some(stand) = self.stands.get_mut(&id).filter(|stand| stand.waits) else { return };
        stand.waits = false;
        self.waiting.remove(&(stand.tag, stand.moved, id));
        self.debtors.insert((stand.tag, id));
    }

    fn first(&self) -> Option<u64> {
        self.waiting.first().map(|(.., id)| *id)
    }

    /// The flow is served: the order's time is its own, and it moves on by `cost`.
    fn serve(&mut self, id: u64, cost: u64) {
        if let Some(stand) = self.stands.get(&id) {
            self.now = self.now.max(stand.tag);
        }
        self.shift(id, |tag, weight| tag + scaled(cost, weight));
    }

    /// What was charged as `charged` was `spent` in truth.
    fn settle(&mut self, flow: Flow, charged: u64, spent: u64) {
        if spent > charged && !self.stands.contains_key(&flow.id) {
            // Everybody moved past it meanwhile, and it owes more than that.
            let stand = Stand { tag: self.now, moved: 0, weight: flow.weight, waits: false };
            self.stands.insert(flow.id, stand);
            self.debtors.insert((self.now, flow.id));
        }
        self.shift(flow.id, |tag, weight| {
            (tag + scaled(spent, weight)).saturating_sub(scaled(charged, weight))
        });
    }

    fn shift(&mut self, id: u64, to: impl FnOnce(Tag, u32) -> Tag) {
        let Some(stand) = self.stands.get_mut(&id) else { return };
        let tag = to(stand.tag, stand.weight);
        if stand.waits {
            self.waiting.remove(&(stand.tag, stand.moved, id));
            self.moves += 1;
            stand.moved = self.moves;
            self.waiting.insert((tag, stand.moved, id));
        } else {
            self.debtors.remove(&(stand.tag, id));
            self.debtors.insert((tag, id));
        }
        stand.tag = tag;
    }

    /// Forgets who neither waits nor owes anything, and the least debts when there are too many.
    fn forgive(&mut self, mut gone: impl FnMut(u64)) {
        while let Some((tag, id)) = self.debtors.first().copied() {
            if tag > self.now && self.debtors.len() <= DEBTORS_MAX {
                return;
            }
            self.debtors.pop_first();
            self.stands.remove(&id);
            gone(id);
        }
    }
}

/// What waits, in the order in which it is served.
pub struct Queue<T> {
    /// What a turn probably costs; [`Queue::settle`] corrects it. Without it, one flow would get every place that comes
    /// free before the first turn has ended.
    quantum: u64,
    tenants: Order,
    of_tenant: HashMap<u64, Tenant<T>>,
    length: usize,
    tickets: u64,
}

struct Tenant<T> {
    agents: Order,
    of_agent: HashMap<u64, BTreeMap<u64, T>>,
}

impl<T> Default for Tenant<T> {
    fn default() -> Self {
        Self { agents: Order::default(), of_agent: HashMap::new() }
    }
}

/// Names something that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    tenant: u64,
    agent: u64,
    number: u64,
}

impl<T> Queue<T> {
    /// An empty queue whose turns cost about `quantum`.
    #[must_use]
    pub fn new(quantum: u64) -> Self {
        Self {
            quantum,
            tenants: Order::default(),
            of_tenant: HashMap::new(),
            length: 0,
            tickets: 0,
        }
    }

    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether nobody waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Puts something behind everything else of its agent.
    pub fn push(&mut self, party: Party, item: T) -> Ticket {
        self.tickets += 1;
        let Party { tenant, agent } = party;
        let ticket = Ticket { tenant: tenant.id, agent: agent.id, number: self.tickets };
        self.tenants.wait(tenant);
        let of_tenant = self.of_tenant.entry(tenant.id).or_default();
        of_tenant.agents.wait(agent);
        of_tenant.of_agent.entry(agent.id).or_default().insert(ticket.number, item);
        self.length += 1;
        ticket
    }

    /// What waits under a ticket.
    pub fn get_mut(&mut self, ticket: &Ticket) -> Option<&mut T> {
        let items = self.of_tenant.get_mut(&ticket.tenant)?.of_agent.get_mut(&ticket.agent)?;
        items.get_mut(&ticket.number)
    }

    /// Takes the next one out and charges its party what a turn probably costs.
    pub fn pop(&mut self) -> Option<(Ticket, T)> {
        let tenant = self.tenants.first()?;
        let of_tenant = self.of_tenant.get_mut(&tenant)?;
        let agent = of_tenant.agents.first()?;
        let number = *of_tenant.of_agent.get(&agent)?.first_key_value()?.0;
        self.tenants.serve(tenant, self.quantum);
        of_tenant.agents.serve(agent, self.quantum);
        let ticket = Ticket { tenant, agent, number };
        let item = self.remove(&ticket)?;
        Some((ticket, item))
    }

    /// Takes something out that does not want to wait any more.
    pub fn remove(&mut self, ticket: &Ticket) -> Option<T> {
        let of_tenant = self.of_tenant.get_mut(&ticket.tenant)?;
        let items = of_tenant.of_agent.get_mut(&ticket.agent)?;
        let item = items.remove(&ticket.number)?;
        self.length -= 1;
        if items.is_empty() {
            of_tenant.of_agent.remove(&ticket.agent);
            of_tenant.agents.rest(ticket.agent);
            of_tenant.agents.forgive(|_| ());
            if of_tenant.of_agent.is_empty() {
                self.tenants.rest(ticket.tenant);
            }
        }
        self.forget();
        Some(item)
    }

    /// A turn of `party` has ended and cost `spent`.
    pub fn settle(&mut self, party: Party, spent: u64) {
        self.charge(party, self.quantum, spent);
    }

    /// A party was served past the queue, while others waited or may come.
    pub fn spend(&mut self, party: Party, spent: u64) {
        self.charge(party, 0, spent);
    }

    fn charge(&mut self, Party { tenant, agent }: Party, charged: u64, spent: u64) {
        self.tenants.settle(tenant, charged, spent);
        if self.tenants.stands.contains_key(&tenant.id) {
            let of_tenant = self.of_tenant.entry(tenant.id).or_default();
            of_tenant.agents.settle(agent, charged, spent);
            of_tenant.agents.forgive(|_| ());
        }
        self.forget();
    }

    /// Nobody waits and nobody is being served: whatever was owed was owed to somebody who is gone.
    pub fn reset(&mut self) {
        if self.is_empty() {
            self.tenants = Order::default();
            self.of_tenant.clear();
        }
    }

    /// Flows that are remembered.
    #[cfg(test)]
    fn flows(&self) -> usize {
        let agents = self.of_tenant.values().map(|tenant| tenant.agents.stands.len());
        self.tenants.stands.len() + agents.sum::<usize>()
    }

    /// What is kept of a tenant goes with its stand.
    fn forget(&mut self) {
        let of_tenant = &mut self.of_tenant;
        self.tenants.forgive(|id| drop(of_tenant.remove(&id)));
    }
}

#[cfg(test)]
mod tests;
