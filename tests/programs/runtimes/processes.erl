%% Processes over all schedulers, and a command.
main(_) ->
    Self = self(),
    [spawn(fun() -> Self ! {K, lists:sum(lists:seq(1, K * 1000))} end) || K <- lists:seq(1, 40)],
    Results = lists:sort([receive Result -> Result end || _ <- lists:seq(1, 40)]),
    io:format("~p~n", [Results]),
    io:format("~s", [os:cmd("echo child; exit 1")]),
    io:format("ok~n").
