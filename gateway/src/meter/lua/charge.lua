-- One charge, in one atomic step. The rules are those of decide.ts, in the same order; a property test holds both equal.
-- Numbers are integers below 2^53 and are written with %.0f: tostring() would round them.
--
-- KEYS: grant, account, request, marks, usage stream, exposure
-- ARGV: see redisScripts.ts
-- Answers {'ok', event id, channel...[, voucher that proves it, its signature]}, {'lost'}, {'refused', code, limit or ''[, channel...]}, {'duplicate', instance, amount, event
-- id, channel...} or {'full'}; channel is authorized, charged, settled.
local grantKey, accountKey, requestKey, marksKey, streamKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local exposureKey = KEYS[6]
local nowSeconds, minute = tonumber(ARGV[1]), tonumber(ARGV[2])
local amount, cumulative = tonumber(ARGV[3]), tonumber(ARGV[4])
local rawCumulative, signature = ARGV[5], ARGV[6]
-- Of the service: what a call may cost, and minute's calls, its amount, hour's..., day's...; empty is no limit.
local fingerprint, maxAmount, serviceWindows = ARGV[7], ARGV[8], ARGV[9]
local marginSeconds, payee, service = tonumber(ARGV[10]), ARGV[11], ARGV[12]
local instance, attempt, since = ARGV[13], ARGV[14], tonumber(ARGV[15])
local markTtlMs, requestTtlMs, maxStream = tonumber(ARGV[16]), ARGV[17], tonumber(ARGV[18])
local use = ARGV[19]
-- '' or mode,grant,account,operator's grant,operator's account,version; version is empty without a limit over all accounts.
local credit = ARGV[20]
-- What the caller counts in; '' where nothing is ever rebuilt.
local generation = ARGV[21]

local function text(number) return string.format('%.0f', number) end

-- A store that has lost its marks has lost more.
local marks = redis.call('HMGET', marksKey, 'mark:' .. instance, 'generation')
if generation ~= '' and marks[2] ~= generation then return {'lost'} end

local g = redis.call('HMGET', grantKey,
  'token', 'status', 'validAfter', 'validUntil', 'totalLimit', 'periodLimit', 'period', 'settled', 'periodIndex',
  'periodSettled', 'owed', 'status:' .. payee, 'authorized:' .. payee, 'charged:' .. payee, 'settled:' .. payee,
  'voucher:' .. payee, 'limits', 'source', 'exposed:' .. payee, 'limits:' .. payee, 'leaves')
local token = g[1]
if not token then return {'refused', 'grant.unknown', ''} end
-- The account's fields of the grant's source.
local onCredit = g[18] ~= 'reserve'
local pool = onCredit and token or token .. ':reserve'
local payer = token .. ':' .. payee
local status, channelStatus = g[2], g[12]
local authorized, charged, settled = tonumber(g[13] or 0), tonumber(g[14] or 0), tonumber(g[15] or 0)

local function channel(head)
  head[#head + 1] = text(authorized)
  head[#head + 1] = text(charged)
  head[#head + 1] = text(settled)
  return head
end
local function refuse(code, limit) return channel({'refused', code, limit or ''}) end

if status == 'revoked' or channelStatus == 'revoked' then return refuse('grant.revoked') end
if status == 'frozen' or channelStatus == 'frozen' then return refuse('grant.frozen') end
local validAfter = tonumber(g[3])
if nowSeconds < validAfter then return refuse('grant.not_yet_valid') end
if nowSeconds > tonumber(g[4]) - marginSeconds then return refuse('grant.expired') end

local request = redis.call('GET', requestKey)
if request then
  local owner, _, first, eventId, asked = string.match(request, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
  if asked ~= fingerprint then return refuse('request.conflict') end
  return channel({'duplicate', owner, first, eventId})
end

local creditMode, perGrant, perAccount, perGrantOverall, perAccountOverall, version
if onCredit and credit ~= '' then
  creditMode, perGrant, perAccount, perGrantOverall, perAccountOverall, version =
    string.match(credit, '^([^,]*),([^,]*),([^,]*),([^,]*),([^,]*),([^,]*)$')
  if creditMode == 'reserve_only' then return refuse('credit.refused') end
end

-- The twin of spending.ts. `scopes` are those that have limits: only they are counted.
local scopes, spent = {}, {}
local function limit(name, field, limits)
  if not limits or limits == '' then return end
  local parts = {string.match(limits, '^(%d*),(%d*),(%d*),(%d*),(%d*),(%d*),(%d*)$')}
  scopes[#scopes + 1] = {name = name, field = field, limits = parts}
end
if maxAmount ~= '' or serviceWindows ~= '' then
  limit('service', 'spent:service:' .. service, maxAmount .. ',' .. (serviceWindows == '' and ',,,,,' or serviceWindows))
end
limit('payee', 'spent:payee:' .. payee, g[20])
limit('grant', 'spent:grant', g[17])
for _, scope in ipairs(scopes) do
  local perCall = scope.limits[1]
  if perCall ~= '' and amount > tonumber(perCall) then return refuse('limit.per_call', scope.name .. '_call') end
end
if #scopes > 0 then
  local fields = {}
  for i, scope in ipairs(scopes) do fields[i] = scope.field end
  local counts = redis.call('HMGET', grantKey, unpack(fields))
  local indexes = {minute, math.floor(minute / 60), math.floor(minute / 1440)}
  for i = 1, #scopes do
    -- Of minute, hour and day: which one, calls, amount.
    local c = counts[i] and cmsgpack.unpack(counts[i]) or {0, 0, 0, 0, 0, 0, 0, 0, 0}
    for w = 1, 3 do
      local at, index = 3 * w - 2, indexes[w]
      if c[at] ~= index and c[at] ~= index + 1 then c[at], c[at + 1], c[at + 2] = index, 0, 0 end
    end
    spent[i] = c
  end
  for w, window in ipairs({'day', 'hour', 'minute'}) do
    for i, scope in ipairs(scopes) do
      local maxCalls, maxSpent = scope.limits[8 - 2 * w], scope.limits[9 - 2 * w]
      local calls, sum = spent[i][11 - 3 * w], spent[i][12 - 3 * w]
      if maxCalls ~= '' and calls >= tonumber(maxCalls) then return refuse('limit.rate', scope.name .. '_' .. window) end
      if maxSpent ~= '' and sum + amount > tonumber(maxSpent) then
        return refuse('limit.spend', scope.name .. '_' .. window)
      end
    end
  end
end

local newest = cumulative >= authorized
if charged + amount > (newest and cumulative or authorized) then return refuse('voucher.exhausted') end

local more = math.max(0, charged + amount - settled) - math.max(0, charged - settled)
local grantSettled, owed = tonumber(g[8]), tonumber(g[11])
if grantSettled + owed + more > tonumber(g[5]) then return refuse('limit.total') end
local periodLimit = tonumber(g[6])
if periodLimit > 0 then
  local periodIndex = math.floor((nowSeconds - validAfter) / tonumber(g[7]))
  local settledNow = tonumber(g[9]) >= periodIndex and tonumber(g[10]) or 0
  if settledNow + owed + more > periodLimit then return refuse('limit.period') end
end
local a = redis.call('HMGET', accountKey, 'funds:' .. pool, 'outstanding:' .. pool, 'exposure:' .. payer, 'leaves')
if not a[1] then return {'refused', 'grant.unknown', ''} end
local outstanding = tonumber(a[2] or 0)
if outstanding + more > tonumber(a[1]) then return refuse('funds.insufficient') end

-- What this charge adds to what is counted as owed on credit: `more`, and what of the channel was not counted yet.
local exposed = 0
if onCredit then exposed = math.max(0, charged + amount - settled) - tonumber(g[19] or 0) end
if creditMode and more > 0 then
  local function isAbove(value, limit) return limit ~= '' and value > tonumber(limit) end
  if isAbove(math.max(0, charged - settled) + more, perGrant) then return refuse('limit.exposure', 'grant') end
  if isAbove(tonumber(a[3] or 0) + exposed, perAccount) then return refuse('limit.exposure', 'account') end
  if isAbove(owed + more, perGrantOverall) then return refuse('limit.exposure', 'operator_grant') end
  if isAbove(outstanding + more, perAccountOverall) then return refuse('limit.exposure', 'operator_account') end
  if version ~= '' then
    local e = redis.call('HMGET', exposureKey, 'used:' .. payer, 'budget:' .. payer, 'policy:' .. payer)
    local budget = tonumber(e[3] or 0) >= tonumber(version) and tonumber(e[2] or 0) or 0
    if tonumber(e[1] or 0) + exposed > budget then
      redis.call('HINCRBY', exposureKey, 'wanted:' .. payer, text(exposed))
      return refuse('limit.exposure', 'merchant')
    end
  end
end

if redis.call('XLEN', streamKey) >= maxStream then return {'full'} end

-- The event carries the newest voucher of the channel, so that the journal can prove the charge whatever is released.
local provenBy, provenWith = rawCumulative, signature
if not newest and g[16] then provenBy, provenWith = string.match(g[16], '^(%d+):(.*)$') end

-- Where this charge is counted, so that a capture can take it out again.
local counted = ''
for i, scope in ipairs(scopes) do counted = i == 1 and minute .. '|' .. scope.field or counted .. '|' .. scope.field end

-- The event's time is not before `since`, up to which this process has said that it is done: also when Redis' clock
-- jumps back, or another Redis took over. Ids that the stream has already passed are left to '*'.
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local eventId
if nowMs < since then
  local added = redis.pcall('XADD', streamKey, text(since) .. '-*', 'amount', text(amount), 'cumulative', provenBy,
    'signature', provenWith, 'use', use, 'counted', counted)
  if type(added) == 'string' then eventId = added end
end
if not eventId then
  eventId = redis.call('XADD', streamKey, '*', 'amount', text(amount), 'cumulative', provenBy,
    'signature', provenWith, 'use', use, 'counted', counted)
end

-- A process that is not announced (new, or paused for too long) is announced by its charge.
local seen = string.match(marks[1] or '', ':(%d+)$')
if not seen or math.abs(nowMs - tonumber(seen)) > markTtlMs then
  local eventMs = string.match(eventId, '^(%d+)-')
  redis.call('HSET', marksKey, 'mark:' .. instance, eventMs .. ':' .. text(nowMs))
end

charged = charged + amount
local changes = {'charged:' .. payee, text(charged), 'owed', text(owed + more)}
for i, scope in ipairs(scopes) do
  local c = spent[i]
  for at = 2, 8, 3 do c[at], c[at + 1] = c[at] + 1, c[at + 1] + amount end
  changes[#changes + 1] = scope.field
  changes[#changes + 1] = cmsgpack.pack(c)
end
if newest then
  authorized = cumulative
  changes[#changes + 1] = 'authorized:' .. payee
  changes[#changes + 1] = text(authorized)
  changes[#changes + 1] = 'voucher:' .. payee
  changes[#changes + 1] = rawCumulative .. ':' .. signature
end
if exposed ~= 0 then
  changes[#changes + 1] = 'exposed:' .. payee
  changes[#changes + 1] = text(math.max(0, charged - settled))
  redis.call('HINCRBY', exposureKey, 'used:' .. payer, text(exposed))
  redis.call('HSET', accountKey, 'exposure:' .. payer, text(tonumber(a[3] or 0) + exposed),
    'outstanding:' .. pool, text(outstanding + more))
elseif more > 0 then
  redis.call('HSET', accountKey, 'outstanding:' .. pool, text(outstanding + more))
end
redis.call('HSET', grantKey, unpack(changes))
-- What owes does not leave, see mirror.lua.
local function keep(key)
  redis.call('PERSIST', key)
  redis.call('HDEL', key, 'leaves')
end
if g[21] then keep(grantKey) end
if a[4] then keep(accountKey) end
redis.call('SET', requestKey, instance .. '|' .. attempt .. '|' .. text(amount) .. '|' .. eventId .. '|' .. fingerprint,
  'PX', requestTtlMs)
local answer = channel({'ok', eventId})
if provenBy ~= rawCumulative then
  answer[#answer + 1] = provenBy
  answer[#answer + 1] = provenWith
end
return answer
