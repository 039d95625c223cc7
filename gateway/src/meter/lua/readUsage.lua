-- Reads the usage events that are older than every live mark. What was read is not captured any more.
--
-- KEYS: marks, usage stream
-- ARGV: limit, ttl of a mark in milliseconds
-- Answers the stream's entries.
local marksKey, streamKey = KEYS[1], KEYS[2]
local limit, markTtlMs = ARGV[1], tonumber(ARGV[2])
-- How often a process announced itself is remembered longer than that it lives: one that was paused compares it.
local beatTtlMs = 3600000

local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local frontier
local taken
local marks = redis.call('HGETALL', marksKey)
for i = 1, #marks, 2 do
  if marks[i] == 'taken' then
    taken = marks[i + 1]
  elseif string.sub(marks[i], 1, 5) == 'beat:' then
    local seen = string.match(marks[i + 1], ':(%d+)$')
    if math.abs(nowMs - tonumber(seen)) > beatTtlMs then redis.call('HDEL', marksKey, marks[i]) end
  elseif string.sub(marks[i], 1, 5) == 'mark:' then
    local mark, seen = string.match(marks[i + 1], '^(%d+):(%d+)$')
    mark = tonumber(mark)
    if math.abs(nowMs - tonumber(seen)) > markTtlMs then
      redis.call('HDEL', marksKey, marks[i])
    elseif not frontier or mark < frontier then
      frontier = mark
    end
  end
end
if frontier == 0 then return {} end

local upTo = '+'
if frontier then upTo = '(' .. string.format('%.0f', frontier) .. '-0' end
local entries = redis.call('XRANGE', streamKey, '-', upTo, 'COUNT', limit)
if #entries > 0 then
  local lastId = entries[#entries][1]
  local lastMs, lastSeq = string.match(lastId, '^(%d+)-(%d+)$')
  local takenMs, takenSeq = string.match(taken or '0-0', '^(%d+)-(%d+)$')
  lastMs, lastSeq, takenMs, takenSeq = tonumber(lastMs), tonumber(lastSeq), tonumber(takenMs), tonumber(takenSeq)
  if lastMs > takenMs or (lastMs == takenMs and lastSeq > takenSeq) then redis.call('HSET', marksKey, 'taken', lastId) end
end
return entries
