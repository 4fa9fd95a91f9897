// Children in every way, and a worker thread.
const { exec, execSync, fork, spawn, spawnSync } = require('child_process');
const { Worker } = require('worker_threads');

if (process.send) {
    process.send({ from: 'child' });
    process.on('message', () => process.exit(9));
} else {
    console.log(execSync('echo child').toString().trim());
    console.log(spawnSync('sh', ['-c', 'exit 3']).status);
    exec('echo later; exit 2', (error, output) => {
        console.log(output.trim(), error.code);
        const cat = spawn('cat');
        let length = 0;
        cat.stdout.on('data', data => { length += data.length; });
        cat.on('close', status => {
            console.log(length, status);
            const child = fork(__filename);
            child.on('message', message => { console.log(message); child.send('end'); });
            child.on('exit', status => {
                console.log(status);
                const counting = 'let s = 0; for (let i = 0; i < 1e6; i++) s += i;';
                const worker = new Worker(`${counting} require('worker_threads').parentPort.postMessage(s)`, { eval: true });
                worker.on('message', sum => console.log(sum));
                worker.on('exit', () => console.log('ok'));
            });
        });
        cat.stdin.end('x'.repeat(100000));
    });
}
