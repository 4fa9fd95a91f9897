# Copies of the process as Perl makes them.
use strict;
use warnings;
use POSIX ":sys_wait_h";

my @numbers = (1 .. 1000);
my %children;
for my $index (0 .. 4) {
    pipe(my $reader, my $writer) or die;
    my $child = fork() // die "fork: $!";
    if ($child == 0) {
        close $reader;
        my $sum = 0;
        $sum += $_ * $index for @numbers;
        push @numbers, $sum;
        print $writer "$sum\n";
        close $writer;
        exit $index;
    }
    close $writer;
    $children{$child} = [$index, $reader];
}
for my $child (sort keys %children) {
    my ($index, $reader) = @{$children{$child}};
    my $sum = <$reader>;
    die "sum $sum" unless $sum == 500500 * $index;
    waitpid($child, 0) == $child or die;
    die "status $?" unless $? >> 8 == $index;
}
die "the parent's numbers" unless @numbers == 1000;
die "back-ticks" unless `echo word` eq "word\n";
die "system" unless system("sh", "-c", "exit 4") >> 8 == 4;
open(my $pipe, "-|", "echo from a pipe; exit 2") or die;
die "pipe" unless <$pipe> eq "from a pipe\n";
close $pipe;
die "status of a pipe" unless $? >> 8 == 2;
my $child = open(my $own, "-|") // die;
if ($child == 0) { print "from a copy"; exit 0 }
die "copy" unless <$own> eq "from a copy";
close $own;
local $SIG{CHLD} = sub { };
my $killed = fork() // die;
if ($killed == 0) { sleep 100 while 1 }
kill 'TERM', $killed;
1 while waitpid($killed, 0) != $killed;
die "signal $?" unless WIFSIGNALED($?) && WTERMSIG($?) == 15;
print "ok\n";
