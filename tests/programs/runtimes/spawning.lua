-- Children by popen and execute, and memory that the collector moves.
local pipe = io.popen("echo child; exit 3")
print(pipe:read("a"), pipe:close())
print(os.execute("exit 4"))
local numbers = {}
for i = 1, 200000 do numbers[i] = {i * 2} end
collectgarbage()
print(#numbers, numbers[200000][1])
print("ok")
