// What a user of agents.yml does besides emitting: it picks an agent, words thoughts, and keeps account of what it hears.

const AGENTS = 50;

// A thought is heard as it was published, or merged with others of its agent; then `thoughts` has the originals.
const originals = (event) => event.thoughts ?? [event];

/** Picks the agent, and listens before the user joins. */
function settle(context, events, done) {
  const { vars } = context;
  vars.agent = String(1 + Math.floor(Math.random() * AGENTS));
  vars.mine = new Map();
  context.sockets[""].on("agent-thought", (event) => {
    for (const { thought } of originals(event)) {
      events.emit("counter", "greenroom.all.heard", 1);
      const published = vars.mine.get(thought);
      if (published === undefined) continue;
      events.emit("counter", "greenroom.own.heard", 1);
      events.emit("histogram", "greenroom.delay_ms", performance.now() - published);
      vars.mine.delete(thought);
    }
  });
  done();
}

/** Words the next thought. */
function think(context, events, done) {
  const { vars } = context;
  const thought = `${context._uid}-${vars.$loopCount}`;
  vars.thought = { agentId: vars.agent, thought, timestamp: new Date().toISOString() };
  vars.mine.set(thought, performance.now());
  events.emit("counter", "greenroom.own.published", 1);
  done();
}

/** Fails a user that has not heard all that it published. */
function compare(context, events, done) {
  const missing = context.vars.mine.size;
  done(missing > 0 ? new Error(`${missing} thoughts were not heard`) : undefined);
}

module.exports = { settle, think, compare };
