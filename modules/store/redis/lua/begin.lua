-- Claims a session for a turn, and a key, takes slots, reads the session's newest messages
-- and appends others. ARGV: end of the session's keys, user, id, turn, node, lease, limit
-- and most bytes of what is read, title, max, id of the last message, number of the newest
-- message that may be there (0 for any), whether messages are appended only to a session
-- that has some (1); of the key the end of its session's keys, or
-- nothing without a key, its turn, lease, end of the value's key, and number, kind and data
-- of the first event; the slots as in slots.lua, and then of each message: expiry, time,
-- record.
-- Returns what claim does, 4 if no slot is free, 5 if the key is taken, 6 if there are newer
-- messages, or 7 if there are none; the number of the first appended message, 0 without
-- one; and what history does.
local ending, id, after, key, slots = ARGV[2], ARGV[4], tonumber(ARGV[13]), ARGV[15], 22
local s = sessionOf(ending, ARGV[3])
if key ~= '' then
  local t = read(key)
  if t and t.running and t.id ~= ARGV[16] or cachedAt(ARGV[18]) then return {5} end
end
if after > 0 then
  if purge(s, id) == 0 then return {7} end
  if tonumber(history(s, 0, 0, 1, 0)[2]) > after then return {6} end
end
if not slotsFree(slots) then return {4} end
local code = claim(ending, ARGV[5], ARGV[6], tonumber(ARGV[7]))
if code ~= 1 then return {code} end
if key ~= '' then claimFirst(key, ARGV[16], ARGV[6], tonumber(ARGV[17]), 19) end
takeSlots(slots)
local past, had = {0}, purge(s, id)
if had > 0 then past = history(s, 0, 0, tonumber(ARGV[8]), tonumber(ARGV[9])) end
local answer, from = {code, 0}, slotsEnd(slots) + 1
if from < #ARGV and (had > 0 or ARGV[14] ~= '1') then answer[2] = int(append(s, id, true, ARGV[10], tonumber(ARGV[11]), ARGV[12], from)) end
for _, v in ipairs(past) do answer[#answer + 1] = v end
return answer
