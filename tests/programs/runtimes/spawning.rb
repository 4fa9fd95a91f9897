# Children in every way, threads, and ractors, which are threads that run at once.
children = (0...4).map { |i| `echo child #{i}; exit #{i}` + $?.exitstatus.to_s }
puts children
threads = 4.times.map { |k| Thread.new { (0...100_000).sum { |i| i * k } } }
p threads.map(&:value)
child = fork { puts "in a child"; $stdout.flush; exit 5 }
Process.wait child
p $?.exitstatus
IO.popen("cat", "r+") { |pipe| pipe.puts "hello"; pipe.close_write; puts pipe.read }
reading, writing = IO.pipe
child = spawn("echo spawned", out: writing)
writing.close
Process.wait child
puts reading.read
came = Queue.new
trap("USR1") { came << 1 }
Process.kill("USR1", $$)
p came.pop
p 4.times.map { |k| Ractor.new(k) { |k| (1..100_000).sum * k } }.map(&:take)
system("true") and puts "ok"
