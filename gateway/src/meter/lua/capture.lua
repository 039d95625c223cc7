-- Charges less than was charged first; zero is a release. The event is taken out of the stream and, for what remains, a
-- new one appended. Nothing happens once the event was read for the journal, or the request belongs to another process.
--
-- KEYS: grant, account, request, marks, usage stream, exposure
-- ARGV: payee, captured amount, instance, event id or '', attempt
-- Without an event id: takes back the attempt whose answer was never seen, if it charged at all.
-- Answers {'ok', channel..., new event id or ''} or {'late'}; channel is authorized, charged, settled.
local grantKey, accountKey, requestKey, marksKey, streamKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local payee, captured, instance, eventId, attempt = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]

local function text(number) return string.format('%.0f', number) end
local function isAfter(left, right)
  local leftMs, leftSeq = string.match(left, '^(%d+)-(%d+)$')
  local rightMs, rightSeq = string.match(right, '^(%d+)-(%d+)$')
  if leftMs ~= rightMs then return tonumber(leftMs) > tonumber(rightMs) end
  return tonumber(leftSeq) > tonumber(rightSeq)
end

local request = redis.call('GET', requestKey)
local owner, madeBy, requestEvent, fingerprint
if request then
  owner, madeBy, requestEvent, fingerprint = string.match(request, '^([^|]*)|([^|]*)|[^|]*|([^|]*)|(.*)$')
end
if eventId == '' then
  if not request or owner ~= instance or madeBy ~= attempt then return {'late'} end
  eventId = requestEvent
end
local remembered = request and requestEvent == eventId
if remembered and owner ~= instance then return {'late'} end

local taken = redis.call('HGET', marksKey, 'taken')
if taken and not isAfter(eventId, taken) then return {'late'} end
local entry = redis.call('XRANGE', streamKey, eventId, eventId)[1]
if not entry then return {'late'} end
local event = {}
for i = 1, #entry[2], 2 do event[entry[2][i]] = entry[2][i + 1] end
local amount = tonumber(event.amount)
if captured > amount then return redis.error_reply('captured more than was charged') end

local g = redis.call('HMGET', grantKey, 'token', 'owed', 'authorized:' .. payee, 'charged:' .. payee, 'settled:' .. payee,
  'source', 'exposed:' .. payee)
if not g[1] then return {'late'} end
local owed, charged, settled = tonumber(g[2]), tonumber(g[4] or 0), tonumber(g[5] or 0)
local after = charged - (amount - captured)
local less = math.max(0, charged - settled) - math.max(0, after - settled)
local pool = g[6] == 'reserve' and g[1] .. ':reserve' or g[1]
local outstanding = tonumber(redis.call('HGET', accountKey, 'outstanding:' .. pool) or 0)

redis.call('XDEL', streamKey, eventId)
-- What it costs less is spent again, in the windows that it was counted in; the call still counts.
local minute, fields = string.match(event.counted or '', '^(%d+)|(.+)$')
for field in string.gmatch(fields or '', '[^|]+') do
  local counts = redis.call('HGET', grantKey, field)
  if counts then
    local c = cmsgpack.unpack(counts)
    for w, minutes in ipairs({1, 60, 1440}) do
      if c[3 * w - 2] == math.floor(minute / minutes) then c[3 * w] = math.max(0, c[3 * w] - (amount - captured)) end
    end
    redis.call('HSET', grantKey, field, cmsgpack.pack(c))
  end
end
redis.call('HSET', grantKey, 'charged:' .. payee, text(after), 'owed', text(owed - less))
redis.call('HSET', accountKey, 'outstanding:' .. pool, text(outstanding - less))
if g[6] ~= 'reserve' then
  local owedNow = math.max(0, after - settled)
  local exposed = text(owedNow - tonumber(g[7] or 0))
  redis.call('HSET', grantKey, 'exposed:' .. payee, text(owedNow))
  redis.call('HINCRBY', accountKey, 'exposure:' .. g[1] .. ':' .. payee, exposed)
  redis.call('HINCRBY', KEYS[6], 'used:' .. g[1] .. ':' .. payee, exposed)
end
local newId = ''
if captured > 0 then
  newId = redis.call('XADD', streamKey, '*', 'amount', text(captured), 'cumulative', event.cumulative,
    'signature', event.signature, 'use', event.use)
  if remembered then
    redis.call('SET', requestKey, owner .. '|' .. madeBy .. '|' .. text(captured) .. '|' .. newId .. '|' .. fingerprint,
      'KEEPTTL')
  end
elseif remembered then
  redis.call('DEL', requestKey)
end
return {'ok', g[3] or '0', text(after), text(settled), newId}
