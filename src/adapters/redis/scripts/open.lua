-- What a node finds when it reaches the server.
-- KEYS: meta, rooms, nodes. ARGV: run id of the server, life if there is none, life that the node knows or '', highest number
-- it knows, the node, milliseconds after which a node that says nothing is dead, milliseconds that nodes are waited for.
-- Numbers leap by 2^32 when the server was replaced: what may have been given out and lost is never given out again.
local LEAP = 4294967296
local function text(number) return string.format('%.0f', number) end
local meta = redis.call('HMGET', KEYS[1], 'life', 'run', 'seq', 'last', 'lost', 'base', 'dead')
local life, run, seq = meta[1], meta[2], tonumber(meta[3] or '0')
local last, lost, base, dead = tonumber(meta[4] or '0'), tonumber(meta[5] or '0'), tonumber(meta[6] or '0'), tonumber(meta[7] or '0')
local known = tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- When an era begins, what was lost is not known before each node that was there has said what it knows; '?': nobody knows
-- which there were. Read tells so.
local waits = redis.call('HMGET', KEYS[1], 'unheard', 'until')
local unheard, until_ms = waits[1] or '', waits[2] or '0'
local function begin_unsure(nodes)
  unheard, until_ms = nodes, text(now + tonumber(ARGV[7]))
end
local function who_was_there()
  local all, newest, there = redis.call('HGETALL', KEYS[3]), 0, ','
  local function seen(row) return tonumber(string.match(row, '^%d+')) or 0 end
  for i = 2, #all, 2 do newest = math.max(newest, seen(all[i])) end
  for i = 1, #all, 2 do
    if newest - seen(all[i + 1]) < tonumber(ARGV[6]) then there = there .. all[i] .. ',' end
  end
  return there
end
local kept = redis.call('HEXISTS', KEYS[2], '') == 1
if not life then
  -- An empty server. The life of those who know one goes on, in a new era: nothing of it is kept, and told from nothing lost.
  -- This node may know no number of that life, and another one many.
  life = ARGV[3] ~= '' and ARGV[3] or ARGV[2]
  lost, last, dead = known, 0, 0
  base = ARGV[3] ~= '' and (math.floor(known / LEAP) + 1) * LEAP or 0
  seq = base
  if base > 0 then begin_unsure('?') end
elseif life ~= ARGV[3] then
  known = 0
end
if meta[1] and (run ~= ARGV[1] or known > seq) then
  -- Another server, or this one with an older file: a number is given out once, so a new era begins.
  if lost > last or run == ARGV[1] then dead = base end
  last, lost = seq, 0
  base = (math.floor(math.max(seq, known) / LEAP) + 1) * LEAP
  seq = base
  begin_unsure(who_was_there())
end
if unheard ~= '?' then
  -- A node's name has no characters that a pattern takes for others.
  unheard = string.gsub(unheard, ',' .. ARGV[5] .. ',', ',')
  if unheard == ',' then unheard = '' end
end
if known < base and known > last and known > lost then lost = known end
if not kept then
  -- Which rooms had events is not known any more, if it ever was.
  redis.call('HSET', KEYS[1], 'floor', text(seq > base and seq or math.max(last, lost)))
  redis.call('HSET', KEYS[2], '', '1')
end
local token = life .. '.' .. text(base)
redis.call('HSET', KEYS[1], 'life', life, 'run', ARGV[1], 'token', token, 'seq', text(seq), 'last', text(last),
  'lost', text(lost), 'base', text(base), 'dead', text(dead), 'unheard', unheard, 'until', until_ms)
return {life, token, text(seq)}
