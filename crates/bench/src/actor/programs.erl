%% The measured programs for Erlang: programs:run(Name, Count) prints the nanoseconds that Count operations took.
-module(programs).
-export([run/2]).

run(Name, Count) ->
    Self = self(),
    Begun = erlang:monotonic_time(nanosecond),
    Words = start(Name, Count, Self),
    wait(Words),
    io:format("~w~n", [erlang:monotonic_time(nanosecond) - Begun]),
    halt(0).

wait(0) -> ok;
wait(Words) -> receive done -> wait(Words - 1) after 120000 -> halt(1) end.

start(pingpong, Count, Done) ->
    Pong = spawn(fun pong/0),
    spawn(fun() -> ping(Pong, Count, Done) end),
    1;
start(threadring, Hops, Done) ->
    Last = spawn(fun() -> link_first(Done) end),
    First = lists:foldl(fun(_, Next) -> spawn(fun() -> link_loop(Next, Done) end) end, Last, lists:seq(1, 99)),
    Last ! {next, First},
    First ! {token, Hops},
    1;
start(fjcreate, Count, Done) ->
    Joined = spawn(fun() -> count(Count, Done) end),
    spawn(fun() -> create(Joined, Count) end),
    1;
start(big, Count, Done) ->
    Each = Count div 120,
    Peers = [spawn(fun() -> receive {peers, All} -> peer(All, Each, N, Done) end end) || N <- lists:seq(1, 120)],
    All = list_to_tuple(Peers),
    [Peer ! {peers, All} || Peer <- Peers],
    120.

pong() -> receive {ball, From} -> From ! {ball, self()}, pong() end.

ping(_, 0, Done) -> Done ! done;
ping(Pong, Left, Done) -> Pong ! {ball, self()}, receive {ball, _} -> ping(Pong, Left - 1, Done) end.

link_first(Done) -> receive {next, Next} -> link_loop(Next, Done) end.

link_loop(Next, Done) ->
    receive
        {token, 0} -> Done ! done;
        {token, Left} -> Next ! {token, Left - 1}, link_loop(Next, Done)
    end.

count(0, Done) -> Done ! done;
count(Left, Done) -> receive work -> count(Left - 1, Done) end.

create(_, 0) -> ok;
create(Joined, Left) ->
    Once = spawn(fun() -> receive go -> Joined ! work end end),
    Once ! go,
    create(Joined, Left - 1).

peer(Peers, Left, Random, Done) ->
    Next = (Random * 6364136223846793005 + 1442695040888963407) band 16#ffffffffffffffff,
    element((Next bsr 33) rem tuple_size(Peers) + 1, Peers) ! {ping, self()},
    peer_wait(Peers, Left - 1, Next, Done).

peer_wait(Peers, Left, Random, Done) ->
    receive
        {ping, From} -> From ! pong, peer_wait(Peers, Left, Random, Done);
        pong when Left =:= 0 -> Done ! done, answer();
        pong -> peer(Peers, Left, Random, Done)
    end.

answer() -> receive {ping, From} -> From ! pong, answer() end.
