// A parallel stream, threads that allocate, children, and the collector.
import java.util.*;
import java.util.stream.*;

public class Spawning {
    public static void main(String[] arguments) throws Exception {
        System.out.println(LongStream.rangeClosed(1, 2_000_000).parallel().filter(x -> x % 3 == 0).map(x -> x * x % 1000).sum());
        for (int i = 0; i < 3; i++) {
            Process child = new ProcessBuilder("/bin/sh", "-c", "echo child " + i + "; exit " + i).start();
            System.out.print(new String(child.getInputStream().readAllBytes()) + child.waitFor() + "\n");
        }
        try {
            new ProcessBuilder("/nothing/here").start();
        } catch (java.io.IOException expected) {
            System.out.println(expected.getMessage());
        }
        int[] sizes = new int[4];
        List<Thread> threads = new ArrayList<>();
        for (int k = 0; k < 4; k++) {
            int own = k;
            threads.add(new Thread(() -> {
                Map<Integer, String> map = new HashMap<>();
                for (int i = 0; i < 100_000; i++) map.put(i % 5000, "x" + i);
                sizes[own] = map.size();
            }));
        }
        for (Thread thread : threads) thread.start();
        for (Thread thread : threads) thread.join();
        System.gc();
        System.out.println(Arrays.toString(sizes) + "\nok");
    }
}
