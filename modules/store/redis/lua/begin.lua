-- Claims a session for a turn, reads its newest messages and appends others. ARGV: end
-- of the session's keys, user, id, turn, node, lease, limit and most bytes of what is
-- read, title, max, id of the last message, and then of each message: expiry, time,
-- record.
-- Returns what claim does, the number of the first appended message, and what history
-- does.
local ending, id = ARGV[2], ARGV[4]
local code = claim(ending, ARGV[5], ARGV[6], tonumber(ARGV[7]))
if code ~= 1 then return {code} end
local s, past = sessionOf(ending, ARGV[3]), {0}
if purge(s, id) > 0 then past = history(s, 0, 0, tonumber(ARGV[8]), tonumber(ARGV[9])) end
local answer = {code, int(append(s, id, true, ARGV[10], tonumber(ARGV[11]), ARGV[12], 13))}
for _, v in ipairs(past) do answer[#answer + 1] = v end
return answer
