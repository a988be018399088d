-- Reads a part of the history of some rooms.
-- KEYS: meta, rooms, then a stream a room. ARGV: token, after, whole from, events a room, bytes a room, how many events must
-- be there, each of them, then a name, where its reader joined it, and from where on it must be whole for each room.
-- An error where it is not known yet what was lost before this era (see open). Else it answers the last number, whether all
-- that must be is there (1 or 0), and of each room whether there is more, and its entries; then up to where each lacks
-- something, or 0.
local function text(number) return string.format('%.0f', number) end
local meta = redis.call('HMGET', KEYS[1], 'token', 'seq', 'floor', 'last', 'lost', 'base', 'dead', 'unheard', 'until')
if meta[1] ~= ARGV[1] then return redis.error_reply('REPLACED another life or era') end
local seq, floor, last, lost = tonumber(meta[2]), tonumber(meta[3] or '0'), tonumber(meta[4]), tonumber(meta[5])
local base, dead = tonumber(meta[6]), tonumber(meta[7])
local time = redis.call('TIME')
local is_unsure = (meta[8] or '') ~= '' and tonumber(time[1]) * 1000 < tonumber(meta[9])
local after, count, bytes, musts = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local first = 5 + musts
local rooms = #KEYS - 2
local names = {}
for i = 1, rooms do names[i] = ARGV[first + 3 * i - 2] end
local known = redis.call('HMGET', KEYS[2], '', unpack(names))
if not known[1] then floor = seq end
local whole, found, out, gaps = 1, {}, {}, {}
for i = 1, rooms do
  local stream, joined, from = KEYS[2 + i], tonumber(ARGV[first + 3 * i - 1]), tonumber(ARGV[first + 3 * i])
  if is_unsure and from < base then return redis.error_reply('UNSURE it is not known yet what was lost') end
  local start, gap = math.max(after, joined), dead
  if from < base and lost > math.max(from, last) then gap = math.max(gap, base) end
  local room_last = known[i + 1] and tonumber(string.match(known[i + 1], '^%d+'))
  if not room_last then
    gap = math.max(gap, floor)
  elseif room_last > from then
    local next = redis.call('XRANGE', stream, text(from + 1) .. '-0', '+', 'COUNT', 1)[1]
    gap = math.max(gap, next and tonumber(next[2][2]) or room_last)
  end
  gaps[i] = text(gap > from and gap or 0)
  for m = 1, musts do
    local must = ARGV[5 + m]
    if joined < tonumber(must) and not found[must] and redis.call('XRANGE', stream, must .. '-0', must .. '-0')[1] then found[must] = true end
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
for m = 1, musts do if not found[ARGV[5 + m]] then whole = 0 end end
return {text(seq), whole, out, gaps}
