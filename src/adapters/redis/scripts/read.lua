-- Reads a part of the history of some rooms.
-- KEYS: meta, rooms, then a stream a room. ARGV: token, after, whole from, events a room, bytes a room, how many events must
-- be there, each of them, then a name and where its reader joined it for each room.
-- Answers the last number, whether nothing is missing (1 or 0), and of each room whether there is more, and its entries.
local function text(number) return string.format('%.0f', number) end
local meta = redis.call('HMGET', KEYS[1], 'token', 'seq', 'floor', 'last', 'lost', 'base', 'dead')
if meta[1] ~= ARGV[1] then return redis.error_reply('REPLACED another life or era') end
local seq, floor, last, lost = tonumber(meta[2]), tonumber(meta[3] or '0'), tonumber(meta[4]), tonumber(meta[5])
local base, dead = tonumber(meta[6]), tonumber(meta[7])
local after, whole_from, count, bytes, musts = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local first = 6 + musts
local rooms = #KEYS - 2
local names = {}
for i = 1, rooms do names[i] = ARGV[first + 2 * i - 1] end
local known = redis.call('HMGET', KEYS[2], '', unpack(names))
if not known[1] then floor = seq end
local whole, found, out = 1, {}, {}
for i = 1, rooms do
  local stream, joined = KEYS[2 + i], tonumber(ARGV[first + 2 * i])
  local from, start = math.max(whole_from, joined), math.max(after, joined)
  if from < dead or (from < base and lost > math.max(from, last)) then whole = 0 end
  local room_last = known[i + 1] and tonumber(string.match(known[i + 1], '^%d+'))
  if not room_last then
    if floor > from then whole = 0 end
  elseif room_last > from then
    local next = redis.call('XRANGE', stream, text(from + 1) .. '-0', '+', 'COUNT', 1)[1]
    if not next or tonumber(next[2][2]) > from then whole = 0 end
  end
  for m = 1, musts do
    local must = ARGV[6 + m]
    if not found[must] and redis.call('XRANGE', stream, must .. '-0', must .. '-0')[1] then found[must] = true end
  end
  local entries, size, more = {'0'}, 0, room_last and room_last > start
  while more do
    local page = redis.call('XRANGE', stream, text(start + 1) .. '-0', '+', 'COUNT', 16)
    for _, entry in ipairs(page) do
      start = tonumber(string.match(entry[1], '^%d+'))
      entries[#entries + 1] = entry[2][4]
      size = size + #entry[2][4]
    end
    more = #page == 16
    if more and (#entries > count or size > bytes) then
      entries[1] = '1'
      more = false
    end
  end
  out[i] = entries
end
for m = 1, musts do if not found[ARGV[6 + m]] then whole = 0 end end
return {text(seq), whole, out}
