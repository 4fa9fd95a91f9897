(* Threads, a command and a copy of the process. *)
let () =
  let sum k = let s = ref 0 in for i = 1 to 100000 do s := !s + i * k done; !s in
  let results = Array.make 4 0 in
  let threads = List.init 4 (fun k -> Thread.create (fun () -> results.(k) <- sum k) ()) in
  List.iter Thread.join threads;
  Array.iter (Printf.printf "%d\n") results;
  Printf.printf "%d\n%!" (Sys.command "exit 3");
  match Unix.fork () with
  | 0 -> exit 5
  | child ->
    (match Unix.waitpid [] child with
     | _, Unix.WEXITED status -> Printf.printf "%d\nok\n" status
     | _ -> print_endline "another end")
